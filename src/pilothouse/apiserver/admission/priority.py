"""Priority: a pod's class name becomes its priority and preemption policy; at most one class is the default for all.

Pods may state both values only if they are what their class says.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub

_GROUP = "scheduling.k8s.io"
_DEFAULT: Obj = {"metadata": {"name": ""}, "value": 0, "preemptionPolicy": "PreemptLowerPriority"}
_SYSTEM = ("system-node-critical", "system-cluster-critical")


class Priority(AdmissionPlugin):
    name = "Priority"

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        #: The default class, until classes change.
        self._default: Obj | None = None
        hub.cache(_GROUP, "priorityclasses").subscribe(self._forget)

    def _forget(self, type: str, obj: Obj, previous: Obj | None) -> None:
        self._default = None

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if subresource:
            return False
        if resource.group_resource == (_GROUP, "priorityclasses"):
            return operation in ("CREATE", "UPDATE")
        return resource.group_resource == ("", "pods") and operation in ("CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource.plural != "pods":
            return
        assert request.obj is not None
        spec = request.obj["spec"]
        if request.operation == "UPDATE":
            _keep(spec, (request.old or {})["spec"])
        else:
            self._set(request, spec)

    def _set(self, request: AdmissionRequest, spec: Obj) -> None:
        chosen = self._class_of(request, spec)
        value = chosen.get("value", 0)
        if spec.get("priority") not in (None, value):
            raise refuse(request, _must_not("integer", "priority", spec["priority"], value))
        spec["priority"] = value
        policy = chosen.get("preemptionPolicy") or "PreemptLowerPriority"
        if spec.get("preemptionPolicy") not in (None, policy):
            raise refuse(request, _must_not("string", "PreemptionPolicy", spec["preemptionPolicy"], policy))
        spec["preemptionPolicy"] = policy

    def _class_of(self, request: AdmissionRequest, spec: Obj) -> Obj:
        name = spec.get("priorityClassName")
        if not name:
            chosen = self._default_class()
            if chosen["metadata"]["name"]:
                spec["priorityClassName"] = chosen["metadata"]["name"]
            return chosen
        entry = self.hub.cache(_GROUP, "priorityclasses").get("", name)
        if entry is None:
            raise refuse(request, f"no PriorityClass with name {name} was found")
        return entry.obj

    def _default_class(self) -> Obj:
        """Of several (which only a race can bring about) the one with the lowest value."""
        if self._default is None:
            found = [e.obj for e in self.hub.cache(_GROUP, "priorityclasses").list() if e.obj.get("globalDefault")]
            self._default = min(found, key=lambda c: c.get("value", 0), default=_DEFAULT)
        return self._default

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource.plural == "pods" or not (request.obj or {}).get("globalDefault"):
            return
        current = self._default_class()["metadata"]["name"]
        if current and current != (request.obj or {})["metadata"].get("name"):
            raise refuse(request, f"PriorityClass {current} is already marked as default. Only one default can exist")


def _keep(spec: Obj, old: Obj) -> None:
    """An update that leaves the computed values out means the same ones."""
    for key in ("priority", "preemptionPolicy"):
        if spec.get(key) is None and old.get(key) is not None:
            spec[key] = old[key]


def _must_not(kind: str, field: str, value: object, computed: object) -> str:
    return (
        f"the {kind} value of {field} ({value}) must not be provided in pod spec; "
        f"priority admission controller computed {computed} from the given PriorityClass name"
    )
