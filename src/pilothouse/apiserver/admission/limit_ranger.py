"""LimitRanger: the LimitRanges of a namespace fill in what containers do not ask for, and bound what may be asked for.

Limits apply to each container, to the pod in sum, and to claims' storage. Pods are looked at when they are created and when they are
resized, claims also when they change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.errors import Obj
from pilothouse.api.podspec.pod_resources import total
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_ANNOTATION = "kubernetes.io/limit-ranger"
_PODS, _CLAIMS = ("", "pods"), ("", "persistentvolumeclaims")


class LimitRanger(AdmissionPlugin):
    name = "LimitRanger"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.group_resource == _PODS:
            return (operation, subresource) in (("CREATE", ""), ("UPDATE", "resize"))
        return resource.group_resource == _CLAIMS and operation in ("CREATE", "UPDATE") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource.group_resource == _PODS and request.operation == "CREATE":
            for limit_range in self._ranges(request.namespace):
                _set_defaults(request.obj or {}, limit_range)

    async def validate(self, request: AdmissionRequest) -> None:
        problems: list[str] = []
        for limit_range in self._ranges(request.namespace):
            for item in limit_range["spec"].get("limits") or ():
                problems += _problems(request.resource, request.obj or {}, item)
        if problems:
            raise refuse(request, problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]")

    def _ranges(self, namespace: str) -> list[Obj]:
        return [entry.obj for entry in self.hub.cache("", "limitranges").list(namespace)]


# --- defaults ---------------------------------------------------------------------------------------------------------------------------


def _set_defaults(pod: Obj, limit_range: Obj) -> None:
    limits: Obj = {}
    requests: Obj = {}
    for item in limit_range["spec"].get("limits") or ():
        if item.get("type") == "Container":
            limits |= item.get("default") or {}
            requests |= item.get("defaultRequest") or {}
    notes: list[str] = []
    for kind, what in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(kind) or ():
            notes += _fill(container, requests, limits, what)
    if notes:
        metadata = pod["metadata"]
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            _ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes),
        }


def _fill(container: Obj, requests: Obj, limits: Obj, what: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for key, defaults, word in (("requests", requests, "request"), ("limits", limits, "limit")):
        have = resources.get(key) or {}
        missing = {name: value for name, value in defaults.items() if name not in have}
        if missing:
            resources[key] = {**have, **missing}
            container["resources"] = resources
            yield f"{', '.join(sorted(missing))} {word} for {what} {container['name']}"


# --- bounds -----------------------------------------------------------------------------------------------------------------------------


def _problems(resource: Resource, obj: Obj, item: Obj) -> Iterator[str]:
    kind = item.get("type")
    if resource.group_resource == _CLAIMS:
        if kind == "PersistentVolumeClaim":
            yield from _claim_problems(obj, item)
        return
    spec = obj["spec"]
    if kind == "Container":
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            yield from _pod_problems("Container", item, resources.get("requests") or {}, resources.get("limits") or {})
    elif kind == "Pod":
        yield from _pod_problems("Pod", item, total(spec, "requests", False), total(spec, "limits", False))


def _claim_problems(claim: Obj, item: Obj) -> Iterator[str]:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    for name, enforced in sorted((item.get("min") or {}).items()):
        yield from _below("PersistentVolumeClaim", name, enforced, requests, {})
    for name, enforced in sorted((item.get("max") or {}).items()):
        head = f"maximum {name} usage per PersistentVolumeClaim is {enforced}"
        if name not in requests:
            yield f"{head}.  No request is specified"
        elif quantity.compare(requests[name], enforced) > 0:
            yield f"{head}, but request is {_shown(requests[name])}"


def _pod_problems(kind: str, item: Obj, requests: Any, limits: Any) -> Iterator[str]:
    for name, enforced in sorted((item.get("min") or {}).items()):
        yield from _below(kind, name, enforced, requests, limits)
    for name, enforced in sorted((item.get("max") or {}).items()):
        yield from _above(kind, name, enforced, requests, limits)
    for name, enforced in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        yield from _apart(kind, name, enforced, requests, limits)


def _shown(amount: Any) -> str:
    return quantity.canonical(amount)


def _below(kind: str, name: str, enforced: Any, requests: Any, limits: Any) -> Iterator[str]:
    head = f"minimum {name} usage per {kind} is {_shown(enforced)}"
    if name not in requests:
        yield f"{head}.  No request is specified"
    elif quantity.compare(requests[name], enforced) < 0:
        yield f"{head}, but request is {_shown(requests[name])}"
    elif name in limits and quantity.compare(limits[name], enforced) < 0:
        yield f"{head}, but limit is {_shown(limits[name])}"


def _above(kind: str, name: str, enforced: Any, requests: Any, limits: Any) -> Iterator[str]:
    head = f"maximum {name} usage per {kind} is {_shown(enforced)}"
    if name not in limits:
        yield f"{head}.  No limit is specified"
    elif quantity.compare(limits[name], enforced) > 0:
        yield f"{head}, but limit is {_shown(limits[name])}"
    elif name in requests and quantity.compare(requests[name], enforced) > 0:
        yield f"{head}, but request is {_shown(requests[name])}"


def _apart(kind: str, name: str, enforced: Any, requests: Any, limits: Any) -> Iterator[str]:
    head = f"{name} max limit to request ratio per {kind} is {_shown(enforced)}"
    request = quantity.milli_value(requests[name]) if name in requests else 0
    limit = quantity.milli_value(limits[name]) if name in limits else 0
    if not request:
        yield f"{head}, but no request is specified or request is 0"
    elif not limit:
        yield f"{head}, but no limit is specified or limit is 0"
    elif limit * 1000 > request * quantity.milli_value(enforced):
        yield f"{head}, but provided ratio is {limit / request:.6f}"
