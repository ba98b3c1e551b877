"""The privilege escalation check as the last link of admission. Not a plugin of Kubernetes' list: it cannot be switched off."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.authz.escalation import PLURALS, EscalationCheck
from pilothouse.apiserver.authz.rbac import GROUP, Rbac
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub


class Escalation(AdmissionPlugin):
    def __init__(self, hub: Hub, rbac: Rbac) -> None:
        super().__init__(hub)
        self._check = EscalationCheck(hub, rbac)

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.group == GROUP and resource.plural in PLURALS

    async def admit(self, request: AdmissionRequest) -> None:
        self._check.check(request)
