"""Sockets that wait for connections.

The socket outlives what is done with its connections: a front that becomes another kind on the same address loses none that wait. For an Edge
with TLS the connection is handed over before a byte of it is read (`whole`), because the name in the handshake decides what reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

from pilothouse.clock import Clock, Timer

_BACKLOG = 1024
#: Connections taken in one turn of the loop.
_AT_ONCE = 32
#: Out of descriptors or memory: what waits is taken so many seconds later.
_PAUSE = 0.2
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def bind(address: str, port: int, kind: socket.SocketKind, interface: str = "") -> socket.socket:
    """A socket bound to an address, IPv4 or IPv6 ("" is any), and to a network interface if one is named. OSError if that cannot be."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Listening:
    """One TCP address. `serve` or `whole` say what becomes of its connections, until the next of them does."""

    def __init__(self, address: str, port: int, interface: str = "") -> None:
        self.key = (address, port)
        self._sock = bind(address, port, socket.SOCK_STREAM, interface)
        self._server: asyncio.Server | None = None
        self._reading = False
        self._pause: Timer | None = None

    async def serve(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Give each connection a protocol."""
        before = self._release()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(factory, sock=self._sock, backlog=_BACKLOG)
        if before is not None:
            _end(before)

    def whole(self, taken: Callable[[socket.socket], object], clock: Clock) -> None:
        """Give each connection's socket to `taken`."""
        before = self._release()
        if before is not None:
            _end(before)
        self._read(taken, clock)

    def _read(self, taken: Callable[[socket.socket], object], clock: Clock) -> None:
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._take, taken, clock)
        self._reading = True
        self._pause = None

    def _release(self) -> asyncio.Server | None:
        """End what is done with connections. A server has its socket closed with it, so it keeps that one and we go on with a twin."""
        self._rest()
        before, self._server = self._server, None
        if before is not None:
            self._sock = self._sock.dup()
        return before

    def _take(self, taken: Callable[[socket.socket], object], clock: Clock) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _SHORT:
                    self._rest()
                    self._pause = clock.call_later(_PAUSE, lambda: self._read(taken, clock))
                    return
                raise
            sock.setblocking(False)
            taken(sock)

    def close(self) -> None:
        """Listen no more, from now on: the address is free for another socket."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._server is not None:
            _end(self._server)
            self._server = None
            return
        self._rest()
        self._sock.close()

    def _rest(self) -> None:
        """Take nothing for now."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._sock.fileno())


def _end(server: asyncio.AbstractServer) -> None:
    """Take no more connections. With asyncio's own servers one that was taken in this turn gets its transport in the next: it hangs if there is no
    server then.
    """
    if not isinstance(server, asyncio.Server):
        server.close()
        return
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    loop.call_soon(loop.call_soon, server.close)
