"""DenyServiceExternalIPs: services get no external IPs that they did not have before (CVE-2020-8554)."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest


class DenyServiceExternalIPs(AdmissionPlugin):
    name = "DenyServiceExternalIPs"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.group_resource == ("", "services") and not subresource

    async def validate(self, request: AdmissionRequest) -> None:
        wanted, had = (set(((o or {}).get("spec") or {}).get("externalIPs") or ()) for o in (request.obj, request.old))
        if wanted - had:
            raise refuse(request, "Use of external IPs is denied by admission control")
