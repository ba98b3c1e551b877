"""A connection to a simulated pod: its first bytes say what is spoken, and a handler for that takes over.

The preface of HTTP/2 is HTTP/2 by prior knowledge, the name of a method begins HTTP/1; all else is echoed. A client that reads no
answers is read no more until it does.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from pilothouse.nodes.answers import Place
from pilothouse.nodes.serve.pod import ServedPod

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_BEGINNINGS = (
    *(m + b" " for m in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE")),
    PREFACE,
)

#: Seconds that a client has to say something when its container has ended meanwhile, and turns of the loop in which that is read on a busy machine.
FIRST_WORDS, TURNS = 2.0, 4


class Handler(Protocol):
    """One protocol on one connection."""

    @property
    def busy(self) -> bool:
        """Whether something is being asked or answered."""
        ...

    def data(self, data: bytes) -> None: ...

    def eof(self) -> None:
        """The client sends no more."""

    def stopping(self) -> None:
        """The pod is asked to stop: tell the client, where the protocol can."""

    def end(self) -> None:
        """Say good-bye; nothing is busy, and the connection closes after this."""


class Connection(asyncio.Protocol):
    """Belongs to its pod from the first moment to the last."""

    __slots__ = ("_first", "_handler", "_paused", "ending", "place", "pod", "transport")

    def __init__(self, pod: ServedPod, place: Place) -> None:
        self.pod, self.place = pod, place
        self.transport: asyncio.Transport
        self.ending = False
        self._first = b""
        self._handler: Handler | None = None
        self._paused: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self.pod.connections[self] = self.place.container
        self.pod.arrived()

    def connection_lost(self, exc: Exception | None) -> None:
        self.pod.connections.pop(self, None)
        self._handler = None

    def data_received(self, data: bytes) -> None:
        if self._handler is None:
            self._first += data
            known = _spoken(self._first)
            if known is None:
                return
            data, self._first = self._first, b""
            self._handler = self._make(known)
        self._handler.data(data)

    def eof_received(self) -> bool:
        """Kept open while an answer is due."""
        if self._handler is None:
            return False
        self._handler.eof()
        return self._handler is not None and self._handler.busy

    def _make(self, known: str) -> Handler:
        if known == "http1":
            from pilothouse.nodes.serve.http1 import Http1

            return Http1(self)
        if known == "http2":
            from pilothouse.nodes.serve.http2 import Http2

            return Http2(self)
        return Echo(self)

    def become(self, handler: Handler) -> None:
        """The protocol changes (WebSocket)."""
        self._handler = handler

    # --- the client's pace -----------------------------------------------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Read no more for this reason."""
        if not self._paused and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused.add(why)

    def resume(self, why: str) -> None:
        self._paused.discard(why)
        if not self._paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.pause("written")

    def resume_writing(self) -> None:
        self.resume("written")

    # --- the pod's end ---------------------------------------------------------------------------------------------------------------

    def stopping(self) -> None:
        if self._handler is not None:
            self._handler.stopping()

    def end(self) -> None:
        """The container has ended: close when nothing is due. Who has just connected and said nothing yet may say it."""
        self.ending = True
        if self._handler is None:
            self.pod.clock.call_later(FIRST_WORDS, self._rest_soon)
        else:
            self.rest()

    def _rest_soon(self, turns: int = TURNS) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._rest_soon, turns - 1)
        else:
            self.rest()

    def rest(self) -> None:
        """Nothing is due for the moment: close if that was waited for."""
        if not self.ending or self.transport.is_closing() or (self._handler is not None and self._handler.busy):
            return
        if self._handler is not None:
            self._handler.end()
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()


def _spoken(first: bytes) -> str | None:
    """What these bytes begin; None while that is open."""
    for beginning in _BEGINNINGS:
        if first.startswith(beginning):
            return "http2" if beginning is PREFACE else "http1"
        if beginning.startswith(first):
            return None
    return "echo"


class Echo:
    """Everything comes back as it is."""

    busy = False

    def __init__(self, connection: Connection) -> None:
        self._transport = connection.transport
        connection.pod.spend(connection.place.container)

    def data(self, data: bytes) -> None:
        self._transport.write(data)

    def eof(self) -> None: ...

    def stopping(self) -> None: ...

    def end(self) -> None: ...


class UdpEcho(asyncio.DatagramProtocol):
    """Each datagram comes back with the pod's name and a space before it, so that one sees whose answer it is."""

    __slots__ = ("_place", "_pod", "_transport")

    def __init__(self, pod: ServedPod, place: Place) -> None:
        self._pod, self._place = pod, place
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._pod.arrived()
        self._pod.spend(self._place.container)
        self._transport.sendto(f"{self._pod.name} ".encode() + data, addr)
