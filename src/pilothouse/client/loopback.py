"""Where the addresses of a simulated cluster are found on this machine.

The API refuses loopback addresses as endpoints, and addresses such as 10.64.0.7 belong to nobody here. So everything simulated has a twin: the
address with 127 in place of its first number, which Linux answers without any set-up. Whoever serves a pod listens on the twin, and whoever
wants to reach one goes there. Ports that need a privilege this process lacks are moved up, for both sides alike.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

#: Where ports below the privileged limit are found by processes without the privilege.
MOVED = 40_000
_LIMIT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def twin(address: str) -> str:
    """The loopback address of a simulated IPv4 address; others are their own."""
    first, dot, rest = address.partition(".")
    return f"127.{rest}" if dot and first.isdigit() else address


@functools.cache
def first_port() -> int:
    """The lowest port that this process may listen on."""
    if os.name != "posix" or os.geteuid() == 0:
        return 1
    try:
        return int(_LIMIT.read_text())
    except (OSError, ValueError):
        return 1024


def port(wanted: int) -> int:
    """The port that stands for this one here."""
    return wanted if wanted >= first_port() else MOVED + wanted


def has_range() -> bool:
    """Whether all of 127.0.0.0/8 is local without set-up, as on Linux; elsewhere only 127.0.0.1 is."""
    return sys.platform == "linux"
