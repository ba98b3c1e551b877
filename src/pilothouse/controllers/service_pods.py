"""From a Service and its pods to what both endpoint controllers publish: which pods, on which ports, since when.

References: Service (v1), EndpointSlice (discovery.k8s.io/v1), KEP-1672 (terminating endpoints), KEP-1864 (headless label).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pilothouse.client.reconcile.objects import Obj, condition, is_deleting, key, labels_of
from pilothouse.clock import parse_rfc3339, rfc3339
from pilothouse.controllers.pods import is_finished

HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class Port(NamedTuple):
    """A port as endpoints name it: the Service's name for it and the pods' number."""

    name: str
    port: int
    protocol: str
    app_protocol: str = ""


def selects(service: Obj) -> bool:
    """Whether the endpoints of this Service are made by controllers at all."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def is_headless(service: Obj) -> bool:
    return service["spec"].get("clusterIP") == "None"


def families(service: Obj) -> list[str]:
    """The Service's address families, `IPv4` and `IPv6`, the primary one first."""
    if named := service["spec"].get("ipFamilies"):
        return list(named)
    address = service["spec"].get("clusterIP") or "None"
    if address == "None":
        return ["IPv4", "IPv6"]
    return ["IPv6" if ":" in address else "IPv4"]


def has_endpoint(pod: Obj, with_terminating: bool) -> bool:
    """Whether a pod may be an endpoint: it has an address and has not ended."""
    if not addresses(pod) or is_finished(pod):
        return False
    return with_terminating or not is_deleting(pod)


def addresses(pod: Obj) -> list[str]:
    status = pod.get("status") or {}
    several = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    return several or [a for a in [status.get("podIP")] if a]


def addresses_of_family(pod: Obj, family: str) -> list[str]:
    return [a for a in addresses(pod) if (":" in a) == (family == "IPv6")]


def fixed_ports(service: Obj) -> tuple[Port, ...] | None:
    """The ports that every pod of the Service has alike; None if one of them has a name that each pod may understand differently."""
    if any(isinstance(p.get("targetPort"), str) for p in service["spec"].get("ports") or ()):
        return None
    return ports(service, {})


def ports(service: Obj, pod: Obj) -> tuple[Port, ...]:
    """The Service's ports on this pod. A named target port that the pod lacks is left out."""
    out = []
    for each in service["spec"].get("ports") or ():
        protocol = each.get("protocol") or "TCP"
        number = _number(each, pod, protocol)
        if number:
            out.append(Port(each.get("name") or "", number, protocol, each.get("appProtocol") or ""))
    return tuple(sorted(out))


def _number(service_port: Obj, pod: Obj, protocol: str) -> int:
    target = service_port.get("targetPort") or service_port["port"]
    if isinstance(target, int):
        return target
    for container in _serving(pod):
        for each in container.get("ports") or ():
            if each.get("name") == target and (each.get("protocol") or "TCP") == protocol:
                return each["containerPort"]
    return 0


def _serving(pod: Obj) -> Iterable[Obj]:
    """The containers that run while the pod does: its own, and its sidecars."""
    yield from pod["spec"]["containers"]
    for each in pod["spec"].get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            yield each


def hostname(service: Obj, pod: Obj) -> str:
    """The pod's name under a headless Service, if it asked for one there."""
    spec = pod["spec"]
    return (spec.get("hostname") or "") if spec.get("subdomain") == service["metadata"]["name"] else ""


def target_reference(pod: Obj) -> Obj:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def inherited_labels(service: Obj, reserved: Iterable[str]) -> dict[str, str]:
    """The Service's labels, but those that the controller writes itself."""
    return {k: v for k, v in labels_of(service).items() if k not in set(reserved)}


class TriggerTimes:
    """When a Service's endpoints were last made to change, for those who measure how long the network takes to follow.

    A trigger is the Service's creation or a pod's becoming ready or unready. `of` tells the earliest one not told before.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, float]] = {}

    def of(self, service: Obj, pods: Iterable[Obj]) -> str | None:
        name = key(service)
        before = self._seen.get(name)
        now = {key(pod): _readiness_time(pod) for pod in pods}
        self._seen[name] = now
        fresh = [t for pod, t in now.items() if t and t > (before or {}).get(pod, 0.0)]
        if before is None:
            stamp = service["metadata"].get("creationTimestamp")
            fresh += [parse_rfc3339(stamp)] if stamp else []
        return rfc3339(min(fresh)) if fresh else None

    def forget(self, service_key: str) -> None:
        self._seen.pop(service_key, None)


def _readiness_time(pod: Obj) -> float:
    ready = condition(pod, "Ready")
    stamp = ready.get("lastTransitionTime") if ready else None
    return parse_rfc3339(stamp) if stamp else 0.0


def with_trigger_time(notes: Mapping[str, str], trigger: str | None) -> dict[str, str]:
    """Annotations that tell this trigger, or none."""
    out = {k: v for k, v in notes.items() if k != TRIGGER_TIME}
    return {**out, TRIGGER_TIME: trigger} if trigger else out
