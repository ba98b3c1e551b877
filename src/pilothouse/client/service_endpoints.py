"""Where a Service's traffic can go: endpoints by port, out of its EndpointSlices, and the addresses at which this machine reaches them.

References: "EndpointSlices" (conditions, duplicate endpoints), KEP-1669 (terminating endpoints), KEP-752. Endpoints that are ready take the
traffic; where there is none, those that still serve while they terminate. A condition that is not told is `ready` and not `terminating`, and
serves as it is ready; publishNotReadyAddresses is in the slices already. An endpoint that is in two slices for a moment counts once. Of an
endpoint's addresses the first is used. Hints of zones and nodes are left out, as are slices of names (FQDN) and ports without a number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.client import loopback
from pilothouse.client.reconcile.kit import Cache

Obj = dict[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
#: Nodes with this label set to "true" have pods that are found at their twins (`loopback.py`).
SIMULATED = "pilothouse.dev/simulated"
_BY_SERVICE = "service of endpoints"
_BY_NODE = "nodes of endpoints"


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint of one port, as its slice tells. `node`, `zone`, `hostname` and `pod` are "" where the slice says nothing."""

    address: str
    port: int
    node: str = ""
    zone: str = ""
    hostname: str = ""
    pod: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False


#: All endpoints of a Service by the name of the port ("" is one, too), of one address family.
ByPort = Mapping[str, tuple[Target, ...]]


def by_port(slices: Iterable[Obj], family: str = "IPv4") -> ByPort:
    """Every endpoint of one Service's slices, ready or not, in the order of address and port."""
    found: dict[str, dict[tuple[str, int], Target]] = {}
    for each in slices:
        if each.get("addressType") != family:
            continue
        for port in each.get("ports") or ():
            number = port.get("port")
            if number is None:
                continue
            known = found.setdefault(port.get("name") or "", {})
            for endpoint in each.get("endpoints") or ():
                target = _target(endpoint, number)
                key = (target.address, number)
                if key not in known or _rank(target) > _rank(known[key]):
                    known[key] = target
    return {name: tuple(known[k] for k in sorted(known)) for name, known in found.items()}


def usable(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Those that get traffic: the ready ones; if there is none, those that serve although they terminate."""
    targets = tuple(targets)
    return tuple(t for t in targets if t.ready) or tuple(t for t in targets if t.serving and t.terminating)


def port_of(service: Obj, number: int, protocol: str = "TCP") -> Obj | None:
    """The entry of spec.ports with this number."""
    for port in service["spec"].get("ports") or ():
        if port["port"] == number and port.get("protocol", "TCP") == protocol:
            return port
    return None


def families(service: Obj) -> tuple[str, ...]:
    """The address families of a Service, the first one first."""
    return tuple(service["spec"].get("ipFamilies") or ("IPv4",))


def service_of(slice: Obj) -> str:
    """`namespace/name` of the Service that a slice belongs to; "" for none."""
    meta = slice["metadata"]
    name = (meta.get("labels") or {}).get(SERVICE_NAME)
    return f"{meta.get('namespace', '')}/{name}" if name else ""


def is_simulated(node: Obj | None) -> bool:
    return node is not None and (node["metadata"].get("labels") or {}).get(SIMULATED) == "true"


class ServiceEndpoints:
    """The endpoints of all Services, from informers of EndpointSlices and Nodes, and word of the Services whose endpoints changed.

    `changed` is called once in a turn of the event loop with the keys (`namespace/name`) of the Services concerned; after the first listing
    too. A slice's event costs no more than its own Service; what was asked for is remembered until then.
    """

    def __init__(self, slices: Cache, nodes: Cache, changed: Callable[[frozenset[str]], None] | None = None) -> None:
        self._slices = slices
        self._nodes = nodes
        self._changed = changed
        self._known: dict[tuple[str, str], ByPort] = {}
        self._dirty: set[str] = set()
        slices.add_index(_BY_SERVICE, lambda s: (service_of(s),))
        slices.add_index(_BY_NODE, _nodes_of)
        nodes.add_handler(self._node)
        slices.add_handler(self._slice)

    def all(self, service: str, family: str = "IPv4") -> ByPort:
        """Every endpoint of a Service (its key) by port name, ready or not."""
        known = self._known.get((service, family))
        if known is None:
            known = self._known[service, family] = by_port(self._slices.indexed(_BY_SERVICE, service), family)
        return known

    def of(self, service: str, port: str, family: str = "IPv4") -> tuple[Target, ...]:
        """The endpoints that take a port's traffic (the port by its name)."""
        return usable(self.all(service, family).get(port, ()))

    def reach(self, target: Target) -> tuple[str, int]:
        """The address and port at which this machine finds an endpoint."""
        if target.node and is_simulated(self._nodes.get("", target.node)):
            return loopback.twin(target.address), loopback.port(target.port)
        return target.address, target.port

    def _slice(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and _same(old, new):
            return
        for each in (old, new):
            if each is not None:
                self._touch(service_of(each))

    def _node(self, old: Obj | None, new: Obj | None) -> None:
        """A node's slices may be heard of before it is, or its label may change."""
        if is_simulated(old) == is_simulated(new):
            return
        node = new or old or {}
        for each in self._slices.indexed(_BY_NODE, node["metadata"]["name"]):
            self._touch(service_of(each))

    def _touch(self, service: str) -> None:
        if not service:
            return
        for family in ("IPv4", "IPv6"):
            self._known.pop((service, family), None)
        if self._changed is None:
            return
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._tell)
        self._dirty.add(service)

    def _tell(self) -> None:
        dirty, self._dirty = frozenset(self._dirty), set()
        if self._changed is not None:
            self._changed(dirty)


def _target(endpoint: Obj, port: int) -> Target:
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    reference = endpoint.get("targetRef") or {}
    return Target(
        address=endpoint["addresses"][0],
        port=port,
        node=endpoint.get("nodeName") or "",
        zone=endpoint.get("zone") or "",
        hostname=endpoint.get("hostname") or "",
        pod=reference.get("name", "") if reference.get("kind") == "Pod" else "",
        ready=ready,
        serving=ready if serving is None else bool(serving),
        terminating=bool(conditions.get("terminating")),
    )


def _rank(target: Target) -> int:
    return 2 if target.ready else 1 if target.serving else 0


def _same(old: Obj, new: Obj) -> bool:
    """Whether traffic goes the same ways: leaders write annotations and labels of slices without that."""
    return service_of(old) == service_of(new) and all(old.get(m) == new.get(m) for m in ("endpoints", "ports", "addressType"))


def _nodes_of(slice: Obj) -> set[str]:
    return {e["nodeName"] for e in slice.get("endpoints") or () if e.get("nodeName")}
