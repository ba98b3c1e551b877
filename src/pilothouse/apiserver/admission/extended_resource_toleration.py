"""ExtendedResourceToleration: pods that want a node's special devices tolerate the taint that keeps all others off it."""

from __future__ import annotations

from pilothouse.api.checks import is_extended
from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest


class ExtendedResourceToleration(AdmissionPlugin):
    name = "ExtendedResourceToleration"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.group_resource == ("", "pods") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        spec: Obj = (request.obj or {}).get("spec") or {}
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        wanted = {name for c in containers for name in (c.get("resources") or {}).get("requests") or () if is_extended(name)}
        tolerations = list(spec.get("tolerations") or ())
        missing = [t for t in map(_toleration, sorted(wanted)) if t not in tolerations]
        if missing:
            spec["tolerations"] = [*tolerations, *missing]


def _toleration(resource: str) -> Obj:
    return {"key": resource, "operator": "Exists"}
