"""Two connections as one: what comes in at either goes out at the other.

Each end pauses its peer's reading while it cannot write as fast, and passes the end of a direction on alone (half-close), where its
transport can do that (TLS cannot). A connection that breaks breaks the other.

All ends read into one buffer, which is written from at once. Only when the other side cannot take everything is the buffer left to it, and
another one taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

from pilothouse.dataplane.embedded.closed import CLOSED
from pilothouse.dataplane.embedded.counters import Counters

#: More than this waiting to be written stops the reading of the other side.
HIGH_WATER = 1 << 20
#: What is read at once, and below what size a copy costs less than care.
_SIZE, _SMALL = 262_144, 16_384


class Scratch:
    """The buffer that is read into next. One for all: it is full only between a read and the write that follows."""

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.take()

    def take(self) -> None:
        """Another buffer; whoever has the last one keeps it."""
        self.buffer = memoryview(bytearray(_SIZE))


class End(asyncio.BufferedProtocol):
    """One of the two connections. What is read before it has a peer waits, and so does its reading."""

    def __init__(
        self, counters: Counters, scratch: Scratch, from_client: bool, done: Callable[[End], None] | None = None
    ) -> None:
        self._counters = counters
        self._scratch = scratch
        self._from_client = from_client
        self._done = done
        self._eof = False
        self._early: list[bytes] = []
        self.peer: End | None = None
        self.transport = cast(asyncio.Transport, None)
        #: TLS keeps what it is given for a while, so it gets copies.
        self._copies = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._copies = transport.get_extra_info("sslcontext") is not None

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._from_client:
            self._counters.bytes_in += nbytes
        else:
            self._counters.bytes_out += nbytes
        buffer = self._scratch.buffer
        peer = self.peer
        if peer is None:
            self.transport.pause_reading()
            self._early.append(bytes(buffer[:nbytes]))
        elif nbytes < _SMALL or peer._copies:
            peer.transport.write(bytes(buffer[:nbytes]))
        else:
            peer.transport.write(buffer[:nbytes])
            if peer.transport.get_write_buffer_size():
                self._scratch.take()

    def eof_received(self) -> bool:
        self._eof = True
        peer = self.peer
        if peer is None:  # the peer is told when it comes
            return self.transport.can_write_eof()
        if peer._eof or not peer.transport.can_write_eof():
            return False
        if not peer.transport.is_closing():
            with contextlib.suppress(OSError):
                peer.transport.write_eof()
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        peer = self.peer
        if peer is not None and not peer.transport.is_closing():
            if exc is None:
                peer.transport.close()
            else:
                reset(peer.transport)
        self.transport = CLOSED
        if self._done is not None:
            self._done(self)

    def abort(self) -> None:
        self.transport.abort()


def join(client: End, backend: End) -> None:
    """Make two connected ends each other's peers, and begin."""
    client.peer, backend.peer = backend, client
    for end, other in ((client, backend), (backend, client)):
        end.transport.set_write_buffer_limits(high=HIGH_WATER)
        no_delay(end.transport)
        early, end._early = end._early, []
        for data in early:
            other.transport.write(data)
        if not end._eof:
            end.transport.resume_reading()
        elif other.transport.can_write_eof():
            other.transport.write_eof()


def no_delay(transport: asyncio.BaseTransport) -> None:
    """Send what is small at once, and notice a peer that has vanished."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def reset(transport: asyncio.Transport) -> None:
    """Close so that the other side sees a reset, as from a port where nobody listens."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
