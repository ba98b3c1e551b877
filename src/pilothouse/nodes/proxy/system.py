"""What the proxier changes in this machine's network: local routes, and who of several clusters may.

A local route (AnyIP, `ip route add local 10.96.0.0/16 dev lo`) makes all addresses of a range this machine's own, so that one can listen there. It is
taken back at the end. A range that the machine already has a way to, other than the default route, is somebody else's and is left alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterable

import orjson

#: Only one cluster at a time may change this machine's network; the name goes with the process that has it.
_LOCK = "\0pilothouse-network"
#: Our routes are known by it (any number that no routing daemon has, see /etc/iproute2/rt_protos).
PROTOCOL = "77"


async def run(*command: str, text: str = "") -> str:
    """A program's output. OSError, with what it said, if it is not there or fails. In a thread: uvloop fails where a program ends before it reads."""
    path = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if path is None:
        raise FileNotFoundError(2, f"{command[0]} is not installed")
    whole = [path, *command[1:]]
    done = await asyncio.to_thread(subprocess.run, whole, input=text, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise OSError(done.returncode, " ".join(done.stderr.split()) or f"{command[0]} failed")
    return str(done.stdout)


class NetworkLock:
    """Held by the cluster that may change this machine's network (its network namespace's, exactly)."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None

    def take(self) -> None:
        """OSError if another cluster has it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(_LOCK)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, "another cluster has changed this machine's network already") from error
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno() if self._sock is not None else -1

    def give_back(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class LocalRoutes:
    """Ranges that are made this machine's own, each for as long as somebody wants it."""

    def __init__(self) -> None:
        self._users: Counter[str] = Counter()
        #: Those that were not there before.
        self._made: set[str] = set()

    async def add(self, range: str) -> None:
        """OSError if this machine does not allow it, or goes there another way already."""
        if self._users[range]:
            self._users[range] += 1
            return
        network = ipaddress.IPv4Network(range)
        routes = orjson.loads(await run("ip", "-4", "-j", "route", "show", "table", "all"))
        if network.prefixlen < 32 and (other := next(iter(overlapping(network, routes)), "")):
            raise OSError(17, f"{range} is in use on this machine: there is a route to {other}")
        if not is_local(network, routes):
            await run("ip", "-4", "route", "add", "local", range, "dev", "lo", "proto", PROTOCOL)
            self._made.add(range)
        self._users[range] += 1

    async def remove(self, range: str) -> None:
        """One who added it wants it no more."""
        self._users[range] -= 1
        if self._users[range] <= 0:
            del self._users[range]
            await self._delete(range)

    async def retell(self, before: Iterable[str], wanted: Iterable[str]) -> tuple[set[str], list[OSError]]:
        """Take back some and make others: which of the wanted ones are there now, and what was wrong with the rest."""
        there, failed = set(before), []
        for range in there - set(wanted):
            await self.remove(range)
        there &= set(wanted)
        for range in set(wanted) - there:
            try:
                await self.add(range)
                there.add(range)
            except OSError as error:
                failed.append(error)
        return there, failed

    async def close(self) -> None:
        self._users.clear()
        for range in list(self._made):
            await self._delete(range)

    async def _delete(self, range: str) -> None:
        if range in self._made:
            self._made.discard(range)
            await run("ip", "-4", "route", "del", "local", range, "dev", "lo", "proto", PROTOCOL)

    @staticmethod
    async def clear() -> None:
        """Take back what one left that was killed."""
        await run("ip", "-4", "route", "flush", "table", "local", "proto", PROTOCOL)


def overlapping(network: ipaddress.IPv4Network, routes: Iterable[dict[str, str]]) -> list[str]:
    """The destinations of a machine's routes that are in a range, or that the range is in; default routes and our own do not count."""
    return [
        route["dst"]
        for route in routes
        if route.get("protocol") != PROTOCOL and (other := _destination(route)) is not None and other.overlaps(network)
    ]


def is_local(network: ipaddress.IPv4Network, routes: Iterable[dict[str, str]]) -> bool:
    """Whether a range, or a single address, is the machine's own already."""
    return any(route.get("type") == "local" and _destination(route) == network for route in routes)


def _destination(route: dict[str, str]) -> ipaddress.IPv4Network | None:
    """None for a default route, and for one of another family."""
    try:
        found = ipaddress.IPv4Network(route.get("dst", "default"), strict=False)
    except ValueError:
        return None
    return found if found.prefixlen else None


def own_addresses() -> dict[str, str]:
    """The IPv4 address of each of this machine's network interfaces that has one, without loopback."""
    import fcntl
    import struct

    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock, 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
            except OSError:
                continue  # it has none
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                found[name] = address
    return found
