"""AlwaysAdmit and AlwaysDeny: plugins for tests of other things. What the server itself writes is never denied, or it would not start."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import LOOPBACK, AdmissionPlugin, AdmissionRequest


class AlwaysAdmit(AdmissionPlugin):
    name = "AlwaysAdmit"


class AlwaysDeny(AdmissionPlugin):
    name = "AlwaysDeny"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return True

    async def admit(self, request: AdmissionRequest) -> None:
        if request.user is not LOOPBACK:
            raise refuse(request, "admission control is denying all modifications")
