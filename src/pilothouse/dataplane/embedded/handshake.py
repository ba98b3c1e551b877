"""A connection's first moments on an edge with TLS: who is asked for is read without taking it, so that whoever is chosen reads it again.

The bytes stay in the socket (MSG_PEEK): a tunnel that passes TLS through finds them there, and so does the TLS of a site that ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from pilothouse.dataplane.embedded.clienthello import LONGEST, NotTls, server_name
from pilothouse.dataplane.embedded.http1 import Http1
from pilothouse.dataplane.embedded.tcp import Client, connect

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.edge import EdgeFront

#: Fatal alerts: there is nobody of that name here; what came is not understood.
_UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
_DECODE_ERROR = b"\x15\x03\x03\x00\x02\x02\x32"


class Arriving:
    """A connection of which nothing is known yet."""

    def __init__(self, front: EdgeFront, sock: socket.socket) -> None:
        self._front = front
        self._sock: socket.socket | None = sock
        self._task = front.spawn(self._arrive(sock))
        front.open.add(self)

    async def _arrive(self, sock: socket.socket) -> None:
        front = self._front
        try:
            async with asyncio.timeout(front.engine.limits.greeting):
                name = await _peek(sock)
            await self._hand_over(sock, name)
        except NotTls:
            _say(sock, _DECODE_ERROR)
        except OSError:  # gone, too slow, or no TLS that we speak
            pass
        finally:
            front.open.discard(self)
            if self._sock is not None:
                self._sock.close()

    async def _hand_over(self, sock: socket.socket, name: bytes) -> None:
        """To the HTTP or the tunnel of the site that has the name."""
        front = self._front
        loop = asyncio.get_running_loop()
        site = front.sites.find(name)
        tunnel = None if site is None else site.tunnels.find(name)
        context = None if site is None else front.context(site, name)
        if tunnel is None and context is None:
            _say(sock, _UNRECOGNIZED_NAME)
            return
        limit = None if context is None else front.engine.limits.greeting
        self._sock = None
        if tunnel is None:
            made = lambda: Http1(front, name)  # noqa: E731
            await loop.connect_accepted_socket(made, sock, ssl=context, ssl_handshake_timeout=limit)
            return
        client = Client(front)
        pool = tunnel.pick().pool
        client.find = lambda address: connect(front, client, address, pool)
        await loop.connect_accepted_socket(lambda: client, sock, ssl=context, ssl_handshake_timeout=limit)

    def abort(self) -> None:
        self._task.cancel()


async def _peek(sock: socket.socket) -> bytes:
    """The name that the client asks for; the handshake stays unread. OSError if the client leaves."""
    had = 0
    while True:
        await _more(sock, had)
        data = sock.recv(LONGEST + 1024, socket.MSG_PEEK)
        if len(data) <= had:
            raise ConnectionResetError("left before it greeted")
        name = server_name(data)
        if name is not None:
            _wake_at(sock, 1)
            return name
        had = len(data)


async def _more(sock: socket.socket, had: int) -> None:
    """Wait until more than `had` bytes wait to be read, or the connection ends."""
    _wake_at(sock, had + 1)
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(sock.fileno(), wake)
    try:
        await readable
    finally:
        loop.remove_reader(sock.fileno())


def _wake_at(sock: socket.socket, size: int) -> None:
    """Be readable only with so many bytes, else a part of a handshake would wake us without end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def _say(sock: socket.socket, alert: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.send(alert)
        sock.shutdown(socket.SHUT_WR)
