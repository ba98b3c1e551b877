"""RuntimeClass: what running under a container runtime costs (overhead) and where it can be done (scheduling)."""

from __future__ import annotations

from pilothouse.api import quantity
from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest


class RuntimeClass(AdmissionPlugin):
    name = "RuntimeClass"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource == ("", "pods") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        spec = (request.obj or {})["spec"]
        found = self._class(request, spec)
        if found is None:
            return
        _set_overhead(request, spec, found)
        _set_scheduling(request, spec, found.get("scheduling") or {})

    async def validate(self, request: AdmissionRequest) -> None:
        spec = (request.obj or {})["spec"]
        found = self._class(request, spec)
        overhead = ((found or {}).get("overhead") or {}).get("podFixed")
        if overhead:
            if not _same(spec.get("overhead") or {}, overhead):
                raise refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        elif spec.get("overhead"):
            raise refuse(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")

    def _class(self, request: AdmissionRequest, spec: Obj) -> Obj | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        entry = self.hub.cache("node.k8s.io", "runtimeclasses").get("", name)
        if entry is None:
            raise refuse(request, f'pod rejected: RuntimeClass "{name}" not found')
        return entry.obj


def _set_overhead(request: AdmissionRequest, spec: Obj, runtime_class: Obj) -> None:
    overhead = (runtime_class.get("overhead") or {}).get("podFixed")
    if not overhead:
        return
    if spec.get("overhead") and not _same(spec["overhead"], overhead):
        raise refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    spec["overhead"] = dict(overhead)


def _same(a: Obj, b: Obj) -> bool:
    return a.keys() == b.keys() and all(quantity.compare(a[k], b[k]) == 0 for k in a)


def _set_scheduling(request: AdmissionRequest, spec: Obj, scheduling: Obj) -> None:
    wanted = scheduling.get("nodeSelector") or {}
    own = spec.get("nodeSelector") or {}
    for key, value in wanted.items():
        if own.get(key, value) != value:
            why = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own[key]}"
            raise refuse(request, why)
    if wanted:
        spec["nodeSelector"] = {**own, **wanted}
    tolerations = spec.get("tolerations") or []
    more = [dict(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
    if more:
        spec["tolerations"] = [*tolerations, *more]
