"""The ways to a Service: every address and port at which it is to be reached, and which of its endpoints take what comes there. Pure functions.

References: "Virtual IPs and Service Proxies", "Service Internal Traffic Policy", KEP-1669 (terminating endpoints), KEP-2086. Traffic comes from this
machine, and all simulated nodes are this machine: so `internalTrafficPolicy: Local` finds the endpoints of any node, and so do external addresses,
which a node's own traffic reaches as if the policy were Cluster. A node port that is asked for at one node's address knows which node that is:
there `externalTrafficPolicy: Local` means that node's endpoints. Left out: SCTP, topology hints, IPv6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pilothouse.client.service_endpoints import ByPort, Target, usable

Obj = dict[str, Any]
#: `127.64.0.7`, `8080`: where this machine finds an endpoint.
Reached = tuple[str, int]
Transport = Literal["TCP", "UDP"]

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"
AFFINITY_SECONDS = 10_800


@dataclass(frozen=True, slots=True)
class Way:
    """One address and port. A node's address is "" where any node's is meant. Without endpoints, what comes there is refused.

    `local`: nodes serve it by their own endpoints; the way without an address is then that of whoever asks at no node's address.
    """

    kind: Literal["cluster", "node", "external"]
    address: str
    port: int
    transport: Transport
    endpoints: tuple[Reached, ...] = ()
    #: Seconds for which a client stays with its endpoint; 0: it does not.
    affinity: int = 0
    local: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.address or '*'}/{self.port}/{self.transport}{'/local' if self.local else ''}"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The port at which load balancers ask nodes whether they have endpoints: how many, by node."""

    port: int
    counts: Mapping[str, int]


def is_proxied(service: Obj) -> bool:
    """Whether the Service has addresses that are for us to serve."""
    spec, labels = service["spec"], service["metadata"].get("labels") or {}
    if PROXY_NAME in labels or HEADLESS in labels or spec.get("type") == "ExternalName":
        return False
    return spec.get("clusterIP") not in (None, "", "None")


def is_local(service: Obj) -> bool:
    """Whether nodes serve external traffic by their own endpoints only."""
    spec = service["spec"]
    return spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("externalTrafficPolicy") == "Local"


def refused(service: Obj) -> tuple[str, ...]:
    """Protocols of its ports that are not carried."""
    return tuple(p["protocol"] for p in service["spec"].get("ports") or () if p.get("protocol", "TCP") not in ("TCP", "UDP"))


def ways(
    service: Obj, endpoints: ByPort, reach: Callable[[Target], Reached], address_of: Callable[[str], str]
) -> tuple[Way, ...]:
    """All of a Service's. `address_of` gives a node's own address, "" for one that is not simulated."""
    if not is_proxied(service):
        return ()
    return tuple(
        way for port in service["spec"].get("ports") or () for way in _of_port(service, port, endpoints, reach, address_of)
    )


def _of_port(service: Obj, port: Obj, endpoints: ByPort, reach: Callable[[Target], Reached],
             address_of: Callable[[str], str]) -> Iterator[Way]:  # fmt: skip
    spec, transport = service["spec"], port.get("protocol", "TCP")
    if transport not in ("TCP", "UDP"):
        return
    targets = endpoints.get(port.get("name") or "", ())
    seconds = affinity(spec)
    every = tuple(reach(t) for t in usable(targets))
    for address in spec.get("clusterIPs") or (spec["clusterIP"],):
        if ":" not in address:
            yield Way("cluster", address, port["port"], transport, every, seconds)
    for address in _external(service):
        yield Way("external", address, port["port"], transport, every, seconds)
    number = port.get("nodePort")
    if not number or spec.get("type") not in ("NodePort", "LoadBalancer"):
        return
    local = is_local(service)
    yield Way("node", "", number, transport, every, seconds, local=local)
    if local:
        for node, found in by_node(targets).items():
            address = address_of(node)
            if address:
                yield Way("node", address, number, transport, tuple(reach(t) for t in found), seconds, local=True)


def by_node(targets: Iterable[Target]) -> dict[str, tuple[Target, ...]]:
    """The endpoints that take traffic on each node: the ready ones there, else those that serve while they terminate."""
    grouped: dict[str, list[Target]] = {}
    for target in targets:
        if target.node:
            grouped.setdefault(target.node, []).append(target)
    return {node: found for node, there in grouped.items() if (found := usable(there))}


def _external(service: Obj) -> Iterator[str]:
    """External IPs, and addresses of load balancers that are not this machine's own: what is sent there need not leave the machine.

    loadBalancerSourceRanges do not count here, where a packet to an address of our own bears that address as its source.
    """
    spec = service["spec"]
    found = list(spec.get("externalIPs") or ())
    if spec.get("type") == "LoadBalancer":
        told = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        found += [i["ip"] for i in told if i.get("ip") and i.get("ipMode", "VIP") == "VIP"]
    yield from dict.fromkeys(a for a in found if ":" not in a and not a.startswith("127."))


def affinity(spec: Obj) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return config.get("timeoutSeconds") or AFFINITY_SECONDS


def health_check(service: Obj, endpoints: ByPort) -> HealthCheck | None:
    """A load balancer's port for asking nodes, where only nodes with endpoints take its traffic."""
    spec = service["spec"]
    port = spec.get("healthCheckNodePort")
    if not port or spec.get("type") != "LoadBalancer" or not is_local(service) or not is_proxied(service):
        return None
    counts: dict[str, set[str]] = {}
    for targets in endpoints.values():
        for node, found in by_node(targets).items():
            counts.setdefault(node, set()).update(t.address for t in found)
    return HealthCheck(port, {node: len(found) for node, found in counts.items()})
