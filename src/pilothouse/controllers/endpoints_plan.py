"""The legacy Endpoints object of a Service: its pods' addresses, grouped by the ports on which they serve.

Each address stands in as few subsets as possible: ports that exactly the same addresses serve share a subset. Reference:
Endpoints (v1); it is limited to a thousand addresses, and an annotation says where some were left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from pilothouse.client.reconcile.objects import Obj, annotations_of, labels_of, without_empty
from pilothouse.controllers import service_pods
from pilothouse.controllers.pods import is_ready
from pilothouse.controllers.service_pods import HEADLESS, Port

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
#: Addresses in one Endpoints object.
CAPACITY = 1000


def plan(service: Obj, pods: Iterable[Obj], current: Obj | None, trigger: str | None) -> Obj | None:
    """The Endpoints to write, None if the present ones are right."""
    subsets, truncated = _truncate(_subsets(service, pods))
    marks = _labels(service)
    notes = dict(annotations_of(current)) if current else {}
    capacity = notes.get(OVER_CAPACITY)
    if (
        current
        and _same(current.get("subsets"), subsets)
        and labels_of(current) == marks
        and (capacity == "truncated") == truncated
    ):
        return None
    notes = service_pods.with_trigger_time({k: v for k, v in notes.items() if k != OVER_CAPACITY}, trigger)
    if truncated:
        notes[OVER_CAPACITY] = "truncated"
    meta = service["metadata"]
    base = dict(current["metadata"]) if current else {"name": meta["name"], "namespace": meta["namespace"]}
    base["labels"] = marks
    base.pop("annotations", None)
    if notes:
        base["annotations"] = notes
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": base, "subsets": subsets}


def _labels(service: Obj) -> dict[str, str]:
    out = service_pods.inherited_labels(service, (HEADLESS, MANAGED_BY))
    out[MANAGED_BY] = MANAGER
    if service_pods.is_headless(service):
        out[HEADLESS] = ""
    return out


def _subsets(service: Obj, pods: Iterable[Obj]) -> list[Obj]:
    """Group by port first, then join the ports that have the same addresses."""
    unready_too = bool(service["spec"].get("publishNotReadyAddresses"))
    family = service_pods.families(service)[0]
    portless = service_pods.is_headless(service) and not service["spec"].get("ports")
    by_port: dict[Port | None, dict[bytes, tuple[Obj, bool]]] = {}
    for pod in pods:
        found = service_pods.addresses_of_family(pod, family)
        if not found or not service_pods.has_endpoint(pod, with_terminating=unready_too):
            continue
        address = _address(service, pod, found[0])
        ready = unready_too or is_ready(pod)
        ports: Iterable[Port | None] = (None,) if portless else service_pods.ports(service, pod)
        for port in ports:
            by_port.setdefault(port, {})[_digest(address)] = (address, ready)
    return _joined(by_port)


def _joined(by_port: dict[Port | None, dict[bytes, tuple[Obj, bool]]]) -> list[Obj]:
    groups: dict[tuple[tuple[bytes, bool], ...], list[Port | None]] = {}
    for port, members in by_port.items():
        groups.setdefault(tuple(sorted((k, ready) for k, (_, ready) in members.items())), []).append(port)
    out = []
    for ports in groups.values():
        sharing = by_port[ports[0]].values()
        out.append(
            without_empty(
                {
                    "addresses": _sorted(a for a, ready in sharing if ready),
                    "notReadyAddresses": _sorted(a for a, ready in sharing if not ready),
                    "ports": [_port(p) for p in sorted(filter(None, ports))],
                }
            )
        )
    return sorted(out, key=_digest)


def _address(service: Obj, pod: Obj, ip: str) -> Obj:
    return without_empty(
        {
            "ip": ip,
            "hostname": service_pods.hostname(service, pod) if service_pods.is_headless(service) else "",
            "nodeName": pod["spec"].get("nodeName"),
            "targetRef": service_pods.target_reference(pod),
        }
    )


def _port(port: Port) -> Obj:
    return without_empty({"name": port.name, "port": port.port, "protocol": port.protocol, "appProtocol": port.app_protocol})


def _truncate(subsets: list[Obj]) -> tuple[list[Obj], bool]:
    """At most a thousand addresses, ready ones before others, taken evenly in order."""
    total = sum(len(s.get("addresses") or ()) + len(s.get("notReadyAddresses") or ()) for s in subsets)
    if total <= CAPACITY:
        return subsets, False
    room = CAPACITY
    kept: list[Obj] = [dict(s) for s in subsets]
    for member in ("addresses", "notReadyAddresses"):
        for each in kept:
            if member in each:
                each[member] = each[member][:room]
                room -= len(each[member])
    return [without_empty(s) for s in kept if s.get("addresses") or s.get("notReadyAddresses")], True


def _sorted(addresses: Iterable[Obj]) -> list[Obj]:
    return sorted(addresses, key=lambda a: (a["ip"], (a.get("targetRef") or {}).get("uid", "")))


def _digest(value: Obj) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _same(present: list[Obj] | None, wanted: list[Obj]) -> bool:
    """Order says nothing: the server sorts in its own way."""
    return sorted(map(_canonical, present or [])) == sorted(map(_canonical, wanted))


def _canonical(subset: Obj) -> bytes:
    ordered = {k: sorted(map(_digest, v)) for k, v in subset.items()}
    return b"|".join(k.encode() + b":" + b",".join(v) for k, v in sorted(ordered.items()))
