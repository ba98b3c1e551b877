"""Which port stands for the one that was asked for, where this machine does not give that one.

A port below the privileged limit needs a privilege; others may be taken by somebody else, or, where addresses are shared, by another
load balancer. Such a port is moved: by 40,000 (80 to 40080, 8080 to 48080), and if that cannot be either, to the next free one of a stretch.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from pilothouse.client import loopback

#: Where a port is looked for when moving by `loopback.MOVED` does not help.
SPARE = range(41_100, 41_400)
#: A Service's annotation that names the ports that were moved: `80/TCP=40080, 53/UDP=40053`.
ANNOTATION = "pilothouse.dev/load-balancer-ports"
#: A Service's port (number and transport), and where it is found.
Moved = Mapping[tuple[int, str], int]

#: Whether nobody listens on an address, port and transport: 0, or the errno of trying.
Probe = Callable[[str, int, str], int]


class NoPort(Exception):
    """There is none that could stand for the one that was asked for, and why."""


class NotHere(NoPort):
    """The address is not one of this machine's."""


def probe(address: str, port: int, transport: str) -> int:
    """Try to bind, and let go at once."""
    kind = socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as trial:
        if transport != "UDP":
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno or errno.EADDRINUSE
    return 0


def candidates(asked: int, before: int | None = None) -> Iterator[int]:
    """Ports in the order in which they are tried; `before` is where it was found until now."""
    firsts = (before, asked, asked + loopback.MOVED)
    seen = set()
    for port in (*firsts, *SPARE):
        if port is not None and port not in seen and loopback.first_port() <= port < 65_536:
            seen.add(port)
            yield port


def choose(asked: int, transport: str, address: str, free: Callable[[int], int], before: int | None = None) -> int:
    """The first candidate that is free. NoPort if none is, NotHere if the address is not this machine's."""
    for port in candidates(asked, before):
        reason = free(port)
        if reason == 0:
            return port
        if reason == errno.EADDRNOTAVAIL:
            raise NotHere(f"{address} is not an address of this machine")
    raise NoPort(f"no port on {address} can stand for {asked}/{transport}")


def write(moved: Moved) -> str:
    """The annotation's value; "" where nothing was moved."""
    return ", ".join(f"{port}/{transport}={found}" for (port, transport), found in sorted(moved.items()) if port != found)


def read(text: str) -> Moved:
    """What an annotation says; users' own words are no news."""
    out: dict[tuple[int, str], int] = {}
    for part in _parts(text):
        asked, _, found = part.partition("=")
        port, _, transport = asked.partition("/")
        if port.isdecimal() and found.isdecimal() and transport in ("TCP", "UDP"):
            out[int(port), transport] = int(found)
    return out


def _parts(text: str) -> Iterable[str]:
    return (p.strip() for p in text.split(","))
