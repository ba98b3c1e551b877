"""TLS towards backends whose certificate is to bear other names than the one that they are called by, or that ask who comes.

HAProxy holds a certificate against the name that it asked for, and nothing else (`verifyhost` counts only without SNI; URIs not at all).
Such a pool's endpoints are given to it as sockets of this process, which shakes hands, looks at the names and passes bytes. An endpoint that
is not who it should be is answered for with 503.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field, replace

from pilothouse.dataplane.embedded.certificates import client_context, has_name
from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.tunnel import End, Scratch, join
from pilothouse.dataplane.haproxy.listeners import unix
from pilothouse.dataplane.haproxy.servers import relay_name, relayed
from pilothouse.dataplane.haproxy.text import identifier
from pilothouse.dataplane.model import Endpoint, Pool, UpstreamTls

CONNECT_LIMIT = 5.0
_NOBODY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(eq=False)
class _Relay:
    """For one endpoint. Its connections outlive it."""

    endpoint: Endpoint
    tls: UpstreamTls
    context: ssl.SSLContext
    plain_http1: bool
    tasks: set[asyncio.Task[None]]
    server: asyncio.Server | None = None
    ends: set[End] = field(default_factory=set)
    scratch: Scratch = field(default_factory=Scratch)

    async def connect(self, client: End) -> None:
        backend = End(Counters(), self.scratch, False, self.ends.discard)
        host, port = self.endpoint.host, self.endpoint.port
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                transport, _ = await loop.create_connection(
                    lambda: backend, host, port, ssl=self.context, server_hostname=self.tls.hostname
                )
            self.ends.add(backend)
            if self.tls.names and not has_name(transport.get_extra_info("peercert"), self.tls.names):
                transport.abort()
                raise ConnectionError("another name")
        except OSError:
            if self.plain_http1:
                client.transport.write(_NOBODY)
            client.transport.close()
            return
        if client.transport.is_closing():
            transport.abort()
        else:
            join(client, backend)

    def client(self) -> End:
        return _Client(self)


class _Client(End):
    def __init__(self, relay: _Relay) -> None:
        super().__init__(Counters(), relay.scratch, True, relay.ends.discard)
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.ends.add(self)
        task = asyncio.get_running_loop().create_task(self._relay.connect(self))
        self._relay.tasks.add(task)
        task.add_done_callback(self._relay.tasks.discard)


class Relays:
    """Of all pools that need them, in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._relays: dict[str, dict[str, _Relay]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: list[_Relay] = []

    async def tell(self, pool: Pool) -> Pool | None:
        """The pool that HAProxy is to know in this one's place; None where it may know this one. Sockets that are not needed any more stay
        until `close_unused`."""
        if not relayed(pool):
            return None
        assert pool.tls is not None
        mine = self._relays.setdefault(pool.name, {})
        context = client_context(pool.tls, pool.protocol == "http2")
        for path, endpoint in self._paths(pool).items():
            if path not in mine:
                one = _Relay(endpoint, pool.tls, context, pool.protocol == "http1", self._tasks)
                one.server = await asyncio.get_running_loop().create_unix_server(one.client, sock=unix(path))
                mine[path] = one
        return replace(
            pool, name=relay_name(pool.name), endpoints=tuple(Endpoint(path, 0) for path in self._paths(pool)), tls=None
        )

    def _paths(self, pool: Pool) -> dict[str, Endpoint]:
        return {
            f"{self._folder}/{identifier('x_', pool.name, endpoint, pool.tls, pool.protocol)}": endpoint
            for endpoint in pool.endpoints
        }

    def close_unused(self, name: str, pool: Pool | None) -> None:
        """Listen no more for endpoints that have left."""
        wanted = self._paths(pool) if pool and relayed(pool) else {}
        mine = self._relays.get(name, {})
        for path in mine.keys() - wanted.keys():
            one = mine.pop(path)
            assert one.server is not None
            one.server.close()
            self._leaving.append(one)
        self._leaving = [one for one in self._leaving if one.ends]

    async def stop(self) -> None:
        for name in list(self._relays):
            self.close_unused(name, None)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ends = [end for one in self._leaving for end in one.ends]
        for end in ends:
            end.abort()
        while any(one.ends for one in self._leaving):  # a transport tells of its end in a later turn of the loop
            await asyncio.sleep(0)
