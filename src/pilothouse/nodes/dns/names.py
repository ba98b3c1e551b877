"""What a name in the cluster's zone asks for: the grammar of the "Kubernetes DNS-Based Service Discovery" specification.

    service.namespace.svc.ZONE                     a service
    endpoint.service.namespace.svc.ZONE            one of its endpoints
    _port._protocol.service.namespace.svc.ZONE     one of its ports
    1-2-3-4.namespace.pod.ZONE                     a pod by its address
    dns-version.ZONE                               the version of this grammar
    4.3.2.1.in-addr.arpa                           whose address that is

Labels come in lower case. What has no such form does not exist; wildcards are not answered, as in CoreDNS since 1.9.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

Labels = tuple[str, ...]
#: `node` is a name above others that has no records of its own.
Form = Literal["apex", "node", "namespace", "service", "pod", "version", "server", "none"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A name, taken apart. `endpoint` or `port` and `protocol` narrow a service down; `address` is a pod's."""

    form: Form
    namespace: str = ""
    service: str = ""
    endpoint: str = ""
    port: str = ""
    protocol: str = ""
    address: str = ""


NONE, NODE = Asked("none"), Asked("node")


def take_apart(labels: Labels, zone: Labels) -> Asked | None:
    """What is asked for; None if the name is not in the zone."""
    depth = len(zone)
    if labels[-depth:] != zone:
        return None
    inside = labels[:-depth]
    if not inside:
        return Asked("apex")
    top, below = inside[-1], inside[:-1]
    if top == "svc":
        return _service(below)
    if top == "pod":
        return _pod(below)
    if top == "dns":
        return NODE if not below else Asked("server") if below == ("ns",) else NONE
    return Asked("version") if inside == ("dns-version",) else NONE


def _service(below: Labels) -> Asked:
    if len(below) < 2:
        return Asked("namespace", below[0]) if below else NODE
    *more, service, namespace = below
    if not more:
        return Asked("service", namespace, service)
    if len(more) == 1:
        return Asked("service", namespace, service, endpoint=more[0])
    if len(more) == 2 and all(label.startswith("_") for label in more):
        return Asked("service", namespace, service, port=more[0][1:], protocol=more[1][1:])
    return NONE


def _pod(below: Labels) -> Asked:
    if len(below) < 2:
        return Asked("namespace", below[0]) if below else NODE
    address = _dashed_address(below[0]) if len(below) == 2 else ""
    return Asked("pod", below[1], address=address) if address else NONE


def _dashed_address(text: str) -> str:
    """The address that a label such as 10-64-0-7 stands for; "" if none."""
    dots = text.count("-") == 3 and "--" not in text
    try:
        return str(ipaddress.ip_address(text.replace("-", "." if dots else ":")))
    except ValueError:
        return ""


def dashed(address: str) -> str:
    """An address as a label: the name of an endpoint without a hostname."""
    return address.replace(".", "-").replace(":", "-")


def reverse_address(labels: Labels) -> str:
    """The address whose name is asked for, as Python writes it; "" if this is no whole address."""
    try:
        if labels[-2:] == ("in-addr", "arpa") and len(labels) == 6:
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:-2]))))
        if labels[-2:] == ("ip6", "arpa") and len(labels) == 34:
            digits = "".join(reversed(labels[:-2]))
            return str(ipaddress.IPv6Address(int(digits, 16))) if len(digits) == 32 else ""
    except ValueError:
        pass  # not an address
    return ""
