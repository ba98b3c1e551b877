"""UDP passed on in sessions: a client's address and port keep their endpoint, through a socket of their own, until both are silent.

A session ends after the idle time-out, and at once when its endpoint leaves the pool or refuses (ICMP): the client's next datagram begins
another. What an endpoint refused before it ever answered is sent to another one. A front on all addresses (0.0.0.0) answers from the one that it
was asked at, which is part of what a session is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.front import FrontState, admission
from pilothouse.dataplane.embedded.listening import bind
from pilothouse.dataplane.embedded.pools import Target
from pilothouse.dataplane.model import Forward, Front

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine

_SIZE = 65_536
#: Datagrams read in one turn of the loop.
_AT_ONCE = 64
_BUFFER = 1 << 20
#: What Linux tells of a datagram, and is told for an answer: interface, own address, address in its header (ip(7), IP_PKTINFO).
_PKTINFO, _TOLD = 8, struct.Struct("=I4s4s")


class UdpFront(FrontState):
    """A Forward of UDP."""

    def __init__(self, engine: EmbeddedEngine, front: Forward, counters: Counters) -> None:
        super().__init__(engine, front, counters)
        self._pool = front.pool
        self._interface = front.interface
        self._admits = admission(front.source_ranges)
        self.sessions: dict[Any, Session] = {}
        self.sock: socket.socket | None = None
        self._everywhere = front.address == "0.0.0.0"

    async def listen(self) -> None:
        self.sock = bind(self.front.address, self.front.port, socket.SOCK_DGRAM, self._interface)
        if self._everywhere:
            self.sock.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._receive, self.sock)

    def retell(self, front: Front) -> bool:
        if not isinstance(front, Forward) or front.transport != "UDP":
            return False
        self._admits = admission(front.source_ranges)
        for session in list(self.sessions.values()):
            if front.pool != self._pool or not self._admits(session.peer[0]):
                session.abort()
        self.front, self._pool = front, front.pool
        return True

    def close(self) -> None:
        """Sessions have no end of their own, and now no socket to answer by: they end too."""
        if self.sock is not None:
            asyncio.get_running_loop().remove_reader(self.sock.fileno())
            self.sock.close()
            self.sock = None
        self.abort()

    def _receive(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, peer, at = self._next(sock)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an earlier answer could not be delivered
                continue
            self.counters.bytes_in += len(data)
            session = self.sessions.get((peer, at))
            if session is None:
                session = self._begin(peer, at, [])
            if session is not None:
                session.send(data)

    def _next(self, sock: socket.socket) -> tuple[bytes, Any, bytes]:
        """A datagram, its sender, and, if that can be any, our address that it was sent to."""
        if not self._everywhere:
            return *sock.recvfrom(_SIZE), b""
        data, more, _, peer = sock.recvmsg(_SIZE, socket.CMSG_SPACE(_TOLD.size))
        at = next((_TOLD.unpack(text)[2] for level, kind, text in more if (level, kind) == (socket.IPPROTO_IP, _PKTINFO)), b"")
        return data, peer, at

    def answer(self, session: Session, data: bytes) -> None:
        """Send to a session's client, from where it asked."""
        if self.sock is None:
            return
        with contextlib.suppress(OSError):  # gone, or it does not read fast enough
            if session.at:
                told = _TOLD.pack(0, session.at, bytes(4))
                self.sock.sendmsg([data], [(socket.IPPROTO_IP, _PKTINFO, told)], 0, session.peer)
            else:
                self.sock.sendto(data, session.peer)

    def _begin(self, peer: Any, at: bytes, tried: list[Target]) -> Session | None:
        if len(self.open) >= self.engine.limits.connections or not self._admits(peer[0]):
            return None
        target = self.engine.choose(self._pool, peer[0], tried)
        if target is None:
            return None
        session = Session(self, peer, at, target, tried)
        try:
            session.connect()
        except OSError:
            return self._begin(peer, at, [*tried, target])
        if not tried:
            self.counters.connections += 1
        self.sessions[peer, at] = session
        self.open.add(session)
        return session

    def again(self, session: Session) -> None:
        """Its endpoint refused: send what was not answered to another."""
        session.abort()
        if session.unanswered is None:
            return
        another = self._begin(session.peer, session.at, [*session.tried, session.target])
        if another is not None:
            another.send(session.unanswered)

    def sweep(self, now: float) -> None:
        for session in list(self.sessions.values()):
            if session.used + self.engine.limits.datagrams < now:
                session.abort()


class Session:
    """One client and its endpoint."""

    __slots__ = ("_sock", "at", "front", "peer", "target", "tried", "unanswered", "used")

    def __init__(self, front: UdpFront, peer: Any, at: bytes, target: Target, tried: list[Target]) -> None:
        self.front, self.peer, self.at, self.target, self.tried = front, peer, at, target, tried
        #: The last datagram, as long as the endpoint has not answered any.
        self.unanswered: bytes | None = b""
        self.used = front.engine.clock.monotonic()
        self._sock: socket.socket | None = None

    def connect(self) -> None:
        family = socket.AF_INET6 if ":" in self.target.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect((self.target.host, self.target.port))
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._receive)
        self.target.active += 1
        self.target.sessions.add(self.abort)

    def send(self, data: bytes) -> None:
        self.used = self.front.engine.clock.monotonic()
        if self.unanswered is not None:
            self.unanswered = data
        try:
            self._sock.send(data)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            return  # UDP may lose what comes too fast
        except OSError:
            self.front.again(self)

    def _receive(self) -> None:
        front = self.front
        for _ in range(_AT_ONCE):
            if self._sock is None:
                return
            try:
                data = self._sock.recv(_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                front.again(self)
                return
            self.unanswered = None
            self.used = front.engine.clock.monotonic()
            front.counters.bytes_out += len(data)
            front.answer(self, data)

    def abort(self) -> None:
        if self._sock is None:
            return
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        self.target.active -= 1
        self.target.sessions.discard(self.abort)
        self.front.open.discard(self)
        self.front.sessions.pop((self.peer, self.at), None)
