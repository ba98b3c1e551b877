"""The name server's addresses: a UDP and a TCP socket each. Light: `up` takes them before anything else of the name server is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

Address = tuple[str, int]

RECEIVE_BUFFER = 4 << 20
BACKLOG = 128
#: How many ports after the wanted one are tried where that is taken.
TRIES = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sockets of an address."""

    udp: socket.socket
    tcp: socket.socket

    @property
    def address(self) -> Address:
        host, port = self.udp.getsockname()[:2]
        return host, port

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def bind(address: Address) -> Pair:
    """OSError if one of the two cannot be had. Port 0: one that is free for both."""
    host, port = address
    for _ in range(TRIES):
        try:
            return _bind(host, port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    return _bind(host, port)


def _bind(host: str, port: int) -> Pair:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as undone:
        udp = undone.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        udp.setblocking(False)
        udp.bind((host, port))
        tcp = undone.enter_context(socket.socket(family, socket.SOCK_STREAM))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.setblocking(False)
        tcp.bind((host, udp.getsockname()[1]))
        tcp.listen(BACKLOG)
        undone.pop_all()
        return Pair(udp, tcp)


def bind_next(address: Address) -> Pair:
    """The address, or one of the next ports if another program has it. OSError if all are taken."""
    host, port = address
    for number in range(port, port + TRIES):
        try:
            return bind((host, number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or number == port + TRIES - 1:
                raise
    raise AssertionError("unreachable")


class Sockets:
    """All addresses; more may come while they are in use."""

    def __init__(self, *pairs: Pair) -> None:
        self.pairs = list(pairs)
        self._taken: Callable[[Pair], None] | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(pair.address for pair in self.pairs)

    def add(self, address: Address) -> None:
        """OSError if it cannot be had."""
        pair = bind(address)
        self.pairs.append(pair)
        if self._taken is not None:
            self._taken(pair)

    def follow(self, taken: Callable[[Pair], None]) -> None:
        """Tell of each address, now and when it comes."""
        self._taken = taken
        for pair in self.pairs:
            taken(pair)

    def ignore(self) -> None:
        self._taken = None

    async def first_use(self) -> None:
        """Until somebody asks at any of the addresses."""
        loop, used = asyncio.get_running_loop(), asyncio.Event()

        def wait_at(pair: Pair) -> None:
            loop.add_reader(pair.udp, used.set)
            loop.add_reader(pair.tcp, used.set)

        self.follow(wait_at)
        try:
            await used.wait()
        finally:
            self.ignore()
            for pair in self.pairs:
                loop.remove_reader(pair.udp)
                loop.remove_reader(pair.tcp)

    def close(self) -> None:
        for pair in self.pairs:
            pair.close()
        self.pairs.clear()


def parse_address(text: str) -> Address | None:
    """`1.2.3.4`, `1.2.3.4:5353`, `fd00::1` or `[fd00::1]:5353`; None if it is none of these."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
        return host, int(port)
    except ValueError:
        return None
