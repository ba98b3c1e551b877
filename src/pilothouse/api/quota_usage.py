"""What an object uses of the resources that quotas bound, and which quotas bound it.

Every kind can be counted (`count/<plural>.<group>`; some also under their plain plural). Pods use what their containers ask for, claims
use storage, in sum and of their class, services use node ports and load balancers, claims for devices use devices of a class. Scopes restrict a quota to some pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pilothouse.api.errors import Obj
from pilothouse.api.podspec.pod_resources import Amounts, total


class Counted(Protocol):
    """What is counted: a kind, by its group and plural."""

    @property
    def group(self) -> str: ...

    @property
    def plural(self) -> str: ...

    @property
    def group_resource(self) -> tuple[str, str]: ...


_PODS, _CLAIMS, _SERVICES = ("", "pods"), ("", "persistentvolumeclaims"), ("", "services")
#: Kinds of the core group that are counted under their plain plural too.
_PLAIN = frozenset(
    ("configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services")
)  # fmt: skip
_CLASS = ".storageclass.storage.k8s.io/"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_DEVICE_CLAIMS, _DEVICES = ("resource.k8s.io", "resourceclaims"), ".deviceclass.resource.k8s.io/devices"
#: Who asks for all devices may get as many as one claim can have.
_ALL_DEVICES = 32


def count_name(resource: Counted) -> str:
    return f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"


def concerns(name: str, resource: Counted) -> bool:
    """Whether objects of this kind can use the resource called `name`."""
    if name == count_name(resource):
        return True
    if resource.group_resource == _DEVICE_CLAIMS:
        return name.endswith(_DEVICES)
    if resource.group:
        return False
    if resource.plural in _PLAIN and name == resource.plural:
        return True
    if resource.group_resource == _SERVICES:
        return name in ("services.nodeports", "services.loadbalancers")
    if resource.group_resource == _CLAIMS:
        return name == "requests.storage" or _CLASS in name
    return resource.group_resource == _PODS and _is_compute(name)


def _is_compute(name: str) -> bool:
    if name in _COMPUTE or name.startswith("hugepages-"):
        return True
    prefix, _, rest = name.partition(".")
    return (
        prefix in ("requests", "limits")
        and (rest in _COMPUTE or rest.startswith("hugepages-") or "/" in rest)
        and _CLASS not in name
    )


# --- usage --------------------------------------------------------------------------------------------------------------------------------


def of(resource: Counted, obj: Obj) -> Amounts:
    """All that an object uses."""
    out = {count_name(resource): "1"}
    if not resource.group and resource.plural in _PLAIN:
        out[resource.plural] = "1"
    if resource.group_resource == _PODS:
        out |= _pod(obj["spec"])
    elif resource.group_resource == _CLAIMS:
        out |= _claim(obj)
    elif resource.group_resource == _SERVICES:
        out |= _service(obj.get("spec") or {})
    elif resource.group_resource == _DEVICE_CLAIMS:
        out |= _devices(obj.get("spec") or {})
    return out


def _pod(spec: Obj) -> Amounts:
    out: Amounts = {}
    for name, amount in total(spec, "requests").items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            out[name] = amount
        out[f"requests.{name}"] = amount
    for name, amount in total(spec, "limits").items():
        if name in _COMPUTE:
            out[f"limits.{name}"] = amount
    return out


def _claim(claim: Obj) -> Amounts:
    spec = claim.get("spec") or {}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    annotated = (claim["metadata"].get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    name = annotated or spec.get("storageClassName")
    out: Amounts = {}
    if storage is not None:
        out["requests.storage"] = storage
    if name:
        out[f"{name}{_CLASS}persistentvolumeclaims"] = "1"
        if storage is not None:
            out[f"{name}{_CLASS}requests.storage"] = storage
    return out


def _service(spec: Obj) -> Amounts:
    kind, ports = spec.get("type"), spec.get("ports") or []
    if kind == "NodePort":
        return {"services.nodeports": str(len(ports))}
    if kind != "LoadBalancer":
        return {}
    wanted = ports if spec.get("allocateLoadBalancerNodePorts") is not False else [p for p in ports if p.get("nodePort")]
    return {"services.loadbalancers": "1", "services.nodeports": str(len(wanted))}


def _devices(spec: Obj) -> Amounts:
    """How many devices of each class a claim may get: of alternatives, the most of each class."""
    sums: dict[str, int] = {}
    for request in (spec.get("devices") or {}).get("requests") or ():
        most: dict[str, int] = {}
        for one in request.get("firstAvailable") or [request.get("exactly") or {}]:
            name = one.get("deviceClassName", "")
            number = _ALL_DEVICES if one.get("allocationMode") == "All" else one.get("count", 1)
            most[name] = max(most.get(name, 0), number)
        for name, number in most.items():
            sums[name] = sums.get(name, 0) + number
    return {f"{name}{_DEVICES}": str(number) for name, number in sums.items()}


def unspecified(bounded: Iterable[str], resource: Counted, obj: Obj) -> str:
    """What a pod's containers must say and do not, because a quota bounds it: `cpu for: a,b; limits.memory for: a`."""
    if resource.group_resource != _PODS:
        return ""
    spec = obj["spec"]
    parts = []
    for name in bounded:
        kind, _, compute = name.rpartition(".")
        if compute not in ("cpu", "memory"):
            continue
        key = kind or "requests"
        if compute in ((spec.get("resources") or {}).get(key) or {}):
            continue
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        silent = sorted({c["name"] for c in containers if compute not in ((c.get("resources") or {}).get(key) or {})})
        if silent:
            parts.append(f"{name} for: {','.join(silent)}")
    return "; ".join(parts)


# --- scopes -------------------------------------------------------------------------------------------------------------------------------


def matches(quota: Obj, resource: Counted, obj: Obj) -> bool:
    """Whether an object is in all of a quota's scopes."""
    return all(in_scope(s, resource, obj) for s in scopes(quota))


def scopes(quota: Obj) -> list[Obj]:
    """All requirements of a quota's scopes."""
    spec = quota.get("spec") or {}
    selectors = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    return selectors + ((spec.get("scopeSelector") or {}).get("matchExpressions") or [])


def in_scope(selector: Obj, resource: Counted, obj: Obj) -> bool:
    scope = selector.get("scopeName", "")
    if resource.group_resource == _CLAIMS and scope == "VolumeAttributesClass":
        return _selects(selector, (obj.get("spec") or {}).get("volumeAttributesClassName") or "")
    if resource.group_resource != _PODS:
        return False
    spec = obj["spec"]
    if scope == "Terminating":
        return spec.get("activeDeadlineSeconds") is not None
    if scope == "NotTerminating":
        return spec.get("activeDeadlineSeconds") is None
    if scope == "BestEffort":
        return _best_effort(spec)
    if scope == "NotBestEffort":
        return not _best_effort(spec)
    if scope == "PriorityClass":
        return _selects(selector, spec.get("priorityClassName") or "")
    return scope == "CrossNamespacePodAffinity" and _uses_other_namespaces(spec)


def _selects(selector: Obj, value: str) -> bool:
    operator, values = selector.get("operator"), selector.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return bool(value) if operator == "Exists" else not value


def _best_effort(spec: Obj) -> bool:
    """No container asks for processor time or memory."""
    holders = [spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    asked = (kind for h in holders for kind in (h.get("resources") or {}).values() if isinstance(kind, dict))
    return not any(name in ("cpu", "memory") for kind in asked for name in kind)


def _uses_other_namespaces(spec: Obj) -> bool:
    affinity = spec.get("affinity") or {}
    terms: list[Obj] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms += rules.get("requiredDuringSchedulingIgnoredDuringExecution") or []
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        terms += [p.get("podAffinityTerm") or {} for p in preferred]
    return any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms)
