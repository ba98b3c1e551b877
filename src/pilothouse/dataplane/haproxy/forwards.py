"""TCP passed on as it comes."""

from __future__ import annotations

import ipaddress

from pilothouse.dataplane.haproxy.sections import Listener, Sections
from pilothouse.dataplane.haproxy.text import identifier
from pilothouse.dataplane.model import Forward


def front_name(name: str) -> str:
    return identifier("f_", name)


def add(front: Forward, listener: Listener, sections: Sections) -> None:
    backend = sections.stream(front.pool)
    sections.frontends[front_name(front.name)] = [
        "mode tcp",
        f"bind fd@{listener.descriptor}",
        *(f"acl allowed src {ipaddress.ip_network(network, strict=False)}" for network in front.source_ranges),
        *(["tcp-request connection reject unless allowed"] if front.source_ranges else []),
        # one that stops counts none, and still has connections to begin
        f"tcp-request connection reject if {{ nbsrv({backend}) eq 0 }} !{{ stopping }}",
        f"default_backend {backend}",
    ]
