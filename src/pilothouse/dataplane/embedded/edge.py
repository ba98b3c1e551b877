"""A front that reads what passes: sites and their rules for the connections on one address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.exchange import Exchange
from pilothouse.dataplane.embedded.front import FrontState, Open
from pilothouse.dataplane.embedded.http1 import Http1
from pilothouse.dataplane.embedded.listening import Listening
from pilothouse.dataplane.embedded.routing import compile_edge
from pilothouse.dataplane.model import Edge, Front

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine


class Connection(Open, Protocol):
    """What an edge wants of a connection."""

    @property
    def transport(self) -> asyncio.Transport: ...


class EdgeFront(FrontState):
    """An Edge. Its rules are read anew for each request, so a front told again counts for open connections too."""

    def __init__(self, engine: EmbeddedEngine, front: Edge, counters: Counters) -> None:
        super().__init__(engine, front, counters)
        self.sites = compile_edge(front)
        self._tls = front.tls

    async def listen(self) -> None:
        self.listening = self.listening or Listening(self.front.address, self.front.port)
        await self.listening.serve(lambda: Http1(self))

    def retell(self, front: Front) -> bool:
        if not isinstance(front, Edge) or front.tls != self._tls:
            return False
        self.sites = compile_edge(front)
        self.front = front
        return True

    def came(self, connection: Connection) -> None:
        self.counters.connections += 1
        if len(self.open) >= self.engine.limits.connections:
            connection.transport.abort()
        self.open.add(connection)

    def sweep(self, now: float) -> None:
        for connection in list(self.open):
            if isinstance(connection, Http1):
                connection.sweep(now)

    def drain(self) -> None:
        for connection in list(self.open):
            if isinstance(connection, Http1):
                connection.drain()

    def mirror(self, exchange: Exchange, pool: str, body: list[bytes]) -> None:
        raise NotImplementedError
