"""TCP passed on: an endpoint is chosen for each connection, and the bytes go through a tunnel.

Nothing is sent before there is a backend, so a try at an endpoint that refuses loses nothing and goes on to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pilothouse.dataplane.embedded.closed import CLOSED
from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.front import FrontState, admission
from pilothouse.dataplane.embedded.listening import Listening
from pilothouse.dataplane.embedded.pools import Target
from pilothouse.dataplane.embedded.tunnel import End, join, reset
from pilothouse.dataplane.model import Forward, Front

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine


class TcpFront(FrontState):
    """A Forward of TCP."""

    def __init__(self, engine: EmbeddedEngine, front: Forward, counters: Counters) -> None:
        super().__init__(engine, front, counters)
        self._pool = front.pool
        self._interface = front.interface
        self._admits = admission(front.source_ranges)

    async def listen(self) -> None:
        self.listening = self.listening or Listening(self.front.address, self.front.port, self._interface)
        await self.listening.serve(self._client)

    def retell(self, front: Front) -> bool:
        if not isinstance(front, Forward) or front.transport != "TCP":
            return False
        self._admits = admission(front.source_ranges)
        self.front, self._pool = front, front.pool
        return True

    def _client(self) -> Client:
        client = Client(self)
        client.find = lambda address: connect(self, client, address, self._pool) if self._admits(address) else None
        return client


class Client(End):
    """A client's side of a tunnel. `find` is set by whoever made it: what joins it with a backend, or None if it may not come in."""

    find: Callable[[str], Coroutine[Any, Any, None] | None]

    def __init__(self, front: FrontState) -> None:
        super().__init__(front.counters, front.engine.scratch, True, self._gone)
        self._front = front
        self._finding: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        front = self._front
        front.counters.connections += 1
        peer = transport.get_extra_info("peername")
        found = None if peer is None or len(front.open) >= front.engine.limits.connections else self.find(peer[0])
        if found is None:
            reset(self.transport)
            return
        front.open.add(self)
        self._finding = front.spawn(found)

    def _gone(self, _: End) -> None:
        self._front.open.discard(self)
        if self._finding is not None:
            self._finding.cancel()


async def connect(front: FrontState, client: End, address: str, pool: str) -> None:
    """Join a client with an endpoint of the pool; without one it is reset."""
    tried: list[Target] = []
    while (target := front.engine.choose(pool, address, tried)) is not None:
        tried.append(target)
        backend = await reach(front, target)
        if backend is None:
            front.engine.shun(target)
            continue
        if client.transport.is_closing():
            backend.transport.abort()
            return
        if not backend.transport.is_closing():
            join(client, backend)
            return
    reset(client.transport)


async def reach(front: FrontState, target: Target) -> End | None:
    """A connection to an endpoint, counted as active there until it ends; None if it cannot be reached."""
    counted = True
    target.active += 1

    def ended(_: End) -> None:
        nonlocal counted
        target.active -= counted
        counted = False

    loop = asyncio.get_running_loop()
    backend = End(front.counters, front.engine.scratch, False, ended)
    try:
        async with asyncio.timeout(front.engine.limits.connect):
            await loop.create_connection(lambda: backend, target.host, target.port)
    except BaseException as error:
        ended(backend)
        backend.transport = CLOSED  # it may have had one, and is not told that it is gone
        if isinstance(error, OSError):  # TimeoutError is one
            return None
        raise
    return backend
