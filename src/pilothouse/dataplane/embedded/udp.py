"""UDP passed on in sessions: a client's address and port keep their endpoint, through a socket of their own, until both are silent.

A session ends after the idle time-out, and at once when its endpoint leaves the pool or refuses (ICMP): the client's next datagram begins
another. What an endpoint refused before it ever answered is sent to another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
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


class UdpFront(FrontState):
    """A Forward of UDP."""

    def __init__(self, engine: EmbeddedEngine, front: Forward, counters: Counters) -> None:
        super().__init__(engine, front, counters)
        self._pool = front.pool
        self._admits = admission(front.source_ranges)
        self.sessions: dict[Any, Session] = {}
        self.sock: socket.socket | None = None

    async def listen(self) -> None:
        self.sock = bind(self.front.address, self.front.port, socket.SOCK_DGRAM)
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
                data, peer = sock.recvfrom(_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an earlier answer could not be delivered
                continue
            self.counters.bytes_in += len(data)
            session = self.sessions.get(peer)
            if session is None:
                session = self._begin(peer, [])
            if session is not None:
                session.send(data)

    def _begin(self, peer: Any, tried: list[Target]) -> Session | None:
        if len(self.open) >= self.engine.limits.connections or not self._admits(peer[0]):
            return None
        target = self.engine.choose(self._pool, peer[0], tried)
        if target is None:
            return None
        session = Session(self, peer, target, tried)
        try:
            session.connect()
        except OSError:
            return self._begin(peer, [*tried, target])
        if not tried:
            self.counters.connections += 1
        self.sessions[peer] = session
        self.open.add(session)
        return session

    def again(self, session: Session) -> None:
        """Its endpoint refused: send what was not answered to another."""
        session.abort()
        if session.unanswered is None:
            return
        another = self._begin(session.peer, [*session.tried, session.target])
        if another is not None:
            another.send(session.unanswered)

    def sweep(self, now: float) -> None:
        for session in list(self.sessions.values()):
            if session.used + self.engine.limits.datagrams < now:
                session.abort()


class Session:
    """One client and its endpoint."""

    __slots__ = ("_sock", "front", "peer", "target", "tried", "unanswered", "used")

    def __init__(self, front: UdpFront, peer: Any, target: Target, tried: list[Target]) -> None:
        self.front, self.peer, self.target, self.tried = front, peer, target, tried
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
            if front.sock is not None:
                with contextlib.suppress(OSError):  # gone, or it does not read fast enough
                    front.sock.sendto(data, self.peer)

    def abort(self) -> None:
        if self._sock is None:
            return
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        self.target.active -= 1
        self.target.sessions.discard(self.abort)
        self.front.open.discard(self)
        self.front.sessions.pop(self.peer, None)
