"""TCP passed on: an endpoint is chosen for each connection, and the bytes go through a tunnel.

Nothing is sent before there is a backend, so a try at an endpoint that refuses loses nothing and goes on to the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
        await self.listening.serve(lambda: Client(self))

    def retell(self, front: Front) -> bool:
        if not isinstance(front, Forward) or front.transport != "TCP":
            return False
        self._admits = admission(front.source_ranges)
        self.front, self._pool = front, front.pool
        return True

    def came(self, client: Client) -> None:
        """A client is there: find it an endpoint, or turn it away."""
        self.counters.connections += 1
        peer = client.transport.get_extra_info("peername")
        if peer is None or len(self.open) >= self.engine.limits.connections or not self._admits(peer[0]):
            reset(client.transport)
            return
        self.open.add(client)
        client.connecting = self.spawn(connect(self, client, peer[0], self._pool))


class Client(End):
    """The client's side of a forwarded connection."""

    __slots__ = ("_front", "connecting")

    def __init__(self, front: TcpFront) -> None:
        super().__init__(front.counters, True, self._gone)
        self._front = front
        self.connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._front.came(self)

    def _gone(self, _: End) -> None:
        self._front.open.discard(self)
        if self.connecting is not None:
            self.connecting.cancel()


async def connect(front: FrontState, client: End, address: str, pool: str) -> None:
    """Join a client with an endpoint of the pool; without one it is reset."""
    tried: list[Target] = []
    while (target := front.engine.choose(pool, address, tried)) is not None:
        tried.append(target)
        backend = await reach(front, target)
        if backend is None:
            continue
        if client.transport.is_closing():
            backend.transport.abort()
            return
        join(client, backend)
        return
    reset(client.transport)


async def reach(front: FrontState, target: Target) -> End | None:
    """A connection to an endpoint, counted as active there until it ends; None if it cannot be reached."""

    def ended(_: End) -> None:
        target.active -= 1

    loop = asyncio.get_running_loop()
    backend = End(front.counters, False, ended)
    target.active += 1
    try:
        async with asyncio.timeout(front.engine.limits.connect):
            await loop.create_connection(lambda: backend, target.host, target.port)
    except OSError:  # TimeoutError is one
        if backend.transport is None:
            target.active -= 1
        return None
    except asyncio.CancelledError:
        if backend.transport is None:
            target.active -= 1
        else:
            backend.transport.abort()
        raise
    return backend
