"""PodResizeValidator: a running pod is not resized to more than its node has (KEP-1287), nor on nodes that cannot do it."""

from __future__ import annotations

from pilothouse.api import quantity
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.podspec import pod_resources
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest


class PodResizeValidator(AdmissionPlugin):
    name = "PodResizeValidator"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "UPDATE" and resource.group_resource == ("", "pods") and subresource == "resize"

    async def validate(self, request: AdmissionRequest) -> None:
        pod, old = request.obj or {}, request.old or {}
        name = (pod.get("spec") or {}).get("nodeName") or ""
        if not name or pod["metadata"].get("generation") == old["metadata"].get("generation"):
            return
        entry = self.hub.cache("", "nodes").get("", name)
        if entry is None:
            raise refuse(request, f'node "{name}" not found')
        if lacking := _lacking(pod["spec"], (entry.obj.get("status") or {}).get("allocatable") or {}):
            raise _because(request, f"Node didn't have enough allocatable resources: {'; '.join(lacking)}", "NodeCapacity")
        system = (entry.obj["metadata"].get("labels") or {}).get("kubernetes.io/os", "")
        if system != "linux":
            told = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            raise _because(request, told, "UnsupportedPlatform")


def _lacking(spec: Obj, allocatable: Obj) -> list[str]:
    """What the pod asks for and its node does not have: processors in thousandths, memory in bytes."""
    wanted = pod_resources.total(spec, "requests")
    out = []
    for name, amount in (("cpu", quantity.milli_value), ("memory", quantity.value)):
        requested, there = amount(wanted.get(name, "0")), amount(allocatable.get(name, "0"))
        if requested > there:
            out.append(f"{name}, requested: {requested}, allocatable: {there}")
    return out


def _because(request: AdmissionRequest, why: str, cause: str) -> StatusError:
    """403 with a cause that autoscalers look for."""
    error = refuse(request, why)
    error.details = {**(error.details or {}), "causes": [{"reason": cause}]}
    return error
