"""A front that reads what passes: sites and their rules for the connections on one address."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Protocol

from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.exchange import Exchange
from pilothouse.dataplane.embedded.front import FrontState, Open
from pilothouse.dataplane.embedded.http1 import Http1
from pilothouse.dataplane.embedded.listening import Listening
from pilothouse.dataplane.embedded.mirrors import Copy
from pilothouse.dataplane.embedded.routing import Actions, Names, SiteRoutes, compile_edge
from pilothouse.dataplane.model import Edge, Front

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.certificates import Keyring
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine


class Connection(Open, Protocol):
    """What an edge wants of a connection."""

    transport: asyncio.Transport

    def sweep(self, now: float) -> None:
        """Close it if nothing has run on it for too long."""

    def drain(self) -> None:
        """Close it as soon as nothing runs on it."""


class EdgeFront(FrontState):
    """An Edge. Its rules are read anew for each request, so a front told again counts for open connections too."""

    def __init__(self, engine: EmbeddedEngine, front: Edge, counters: Counters) -> None:
        super().__init__(engine, front, counters)
        self._tls = front.tls
        self._connections: set[Connection] = set()
        self._actions: Actions | None = None
        self._tell(front)

    def _tell(self, front: Edge) -> None:
        actions = Actions(self._actions)
        sites = compile_edge(front, actions)
        keyrings = _keyrings(front) if front.tls else {}
        self._actions = actions
        self.sites: Names[SiteRoutes] = sites
        self._keyrings: dict[str, Keyring] = keyrings
        self.front = front

    async def listen(self) -> None:
        self.listening = self.listening or Listening(self.front.address, self.front.port)
        if self._tls:
            self.listening.whole(self._arrive, self.engine.clock)
        else:
            await self.listening.serve(lambda: Http1(self))

    def _arrive(self, sock: socket.socket) -> None:
        from pilothouse.dataplane.embedded.handshake import Arriving

        if len(self.open) < self.engine.limits.connections:
            Arriving(self, sock)
        else:
            sock.close()

    def retell(self, front: Front) -> bool:
        if not isinstance(front, Edge) or front.tls != self._tls:
            return False
        self._tell(front)
        return True

    def context(self, site: SiteRoutes, server_name: bytes) -> ssl.SSLContext | None:
        """How TLS of a name ends here; None where it does not."""
        keyring = self._keyrings.get(site.site.hostname)
        return None if keyring is None else keyring.choose(server_name)

    def came(self, connection: Connection) -> None:
        self.counters.connections += 1
        if len(self.open) >= self.engine.limits.connections:
            connection.transport.abort()
        self.open.add(connection)
        self._connections.add(connection)

    def left(self, connection: Connection) -> None:
        self.open.discard(connection)
        self._connections.discard(connection)

    def sweep(self, now: float) -> None:
        for connection in list(self._connections):
            connection.sweep(now)

    def drain(self) -> None:
        for connection in list(self._connections):
            connection.drain()

    def mirror(self, exchange: Exchange, pool: str, body: list[bytes]) -> None:
        """Send a copy of a request that is complete to another pool."""
        Copy(self, exchange, pool, b"".join(body)).begin()


def _keyrings(front: Edge) -> dict[str, Keyring]:
    """By site. A site with tunnels and no hosts passes plain bytes on, so it offers no HTTP/2. ValueError for certificates that are none."""
    from pilothouse.dataplane.embedded.certificates import Keyring

    return {
        site.hostname: Keyring(site.certificates, not site.tunnels, site.client_authorities)
        for site in reversed(front.sites)
        if site.certificates
    }
