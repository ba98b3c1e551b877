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
_STATUS = Path("/proc/self/status")
#: The bit of CAP_NET_BIND_SERVICE among a process's capabilities: root in a container may lack it, and others may have been given it.
_BIND = 1 << 10


def twin(address: str) -> str:
    """The loopback address of a simulated IPv4 address; others are their own."""
    first, dot, rest = address.partition(".")
    return f"127.{rest}" if dot and first.isdigit() else address


@functools.cache
def first_port() -> int:
    """The lowest port that this process may listen on."""
    return _first_port(_STATUS, _LIMIT)


def _first_port(status: Path, limit: Path) -> int:
    if _is_privileged(status):
        return 1
    try:
        return max(1, int(limit.read_text()))
    except (OSError, ValueError):
        return 1024


def _is_privileged(status: Path) -> bool:
    try:
        told = status.read_text()
    except OSError:  # not Linux
        return os.name != "posix" or os.geteuid() == 0
    capabilities = next((line.split()[1] for line in told.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(capabilities, 16) & _BIND)


def port(wanted: int) -> int:
    """The port that stands for this one here."""
    return wanted if wanted >= first_port() else MOVED + wanted


def has_range() -> bool:
    """Whether all of 127.0.0.0/8 is local without set-up, as on Linux; elsewhere only 127.0.0.1 is."""
    return sys.platform == "linux"
