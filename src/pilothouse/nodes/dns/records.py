"""The records of one Service, out of it and its EndpointSlices. Pure functions; addresses and labels as texts.

References: "Kubernetes DNS-Based Service Discovery" (2.3 cluster IPs, 2.4 headless, 2.5 external names) and what CoreDNS adds: an SRV question
without a port is answered with all ports, and endpoints of services that have a cluster IP have names too. An endpoint counts while its slice does
not call it not ready; publishNotReadyAddresses is in the slices already.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pilothouse.nodes.dns.names import Asked, dashed

Obj = dict[str, Any]

FAMILIES = {"A": "IPv4", "AAAA": "IPv6"}


@dataclass(frozen=True, slots=True)
class Host:
    """Where a service is found: an address, a port (0: none), the endpoint's own label ("": the service itself) and its node."""

    address: str
    port: int = 0
    label: str = ""
    node: str = ""

    @property
    def type(self) -> str:
        return "AAAA" if ":" in self.address else "A"


def is_headless(service: Obj) -> bool:
    return service["spec"].get("clusterIP") == "None"


def external_name(service: Obj) -> str:
    """The name that a Service of type ExternalName stands for; "" for others, and for one that is an address, which no CNAME can be."""
    if service["spec"].get("type") != "ExternalName":
        return ""
    name = (service["spec"].get("externalName") or "").rstrip(".").lower()
    return "" if _is_address(name) else name


def cluster_ips(service: Obj) -> tuple[str, ...]:
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return ()
    return tuple(a for a in spec.get("clusterIPs") or (spec.get("clusterIP"),) if a and a != "None")


def hosts(asked: Asked, service: Obj, slices: Iterable[Obj]) -> tuple[Host, ...]:
    """What a question about a service is answered from, each once. None: there is no such name."""
    if service["spec"].get("type") == "ExternalName":
        return ()
    if is_headless(service) or asked.endpoint:
        return tuple(dict.fromkeys(_endpoints(asked, slices)))
    return tuple(dict.fromkeys(_of_service(asked, service)))


def _of_service(asked: Asked, service: Obj) -> Iterator[Host]:
    for port in service["spec"].get("ports") or ():
        if _wanted(asked, port):
            for address in cluster_ips(service):
                yield Host(address, port["port"])


def _endpoints(asked: Asked, slices: Iterable[Obj]) -> Iterator[Host]:
    for each in slices:
        if each.get("addressType") not in FAMILIES.values():
            continue
        told: list[Obj] = each.get("ports") or [{}]
        ports = [p for p in told if _wanted(asked, p)]
        for endpoint in each.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in endpoint["addresses"]:
                label = endpoint_label(endpoint, address)
                if asked.endpoint in ("", label):
                    for port in ports:
                        yield Host(address, port.get("port") or 0, label, endpoint.get("nodeName") or "")


def _wanted(asked: Asked, port: Obj) -> bool:
    if not asked.port:
        return True
    return (port.get("name") or "").lower() == asked.port and port.get("protocol", "TCP").lower() == asked.protocol


def endpoint_label(endpoint: Obj, address: str) -> str:
    """An endpoint's name below its service."""
    return (endpoint.get("hostname") or "").lower() or dashed(address)


def addresses(slice: Obj) -> set[str]:
    return {a for e in slice.get("endpoints") or () for a in e["addresses"]}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
