"""What tests of the data plane are made of: backends that tell what reached them, fronts on free addresses, certificates.

Both engines are driven through the same door, by clients that are not ours.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from pilothouse.clock import SystemClock
from pilothouse.dataplane.engine import Engine
from pilothouse.dataplane.model import Edge, Endpoint, Forward, Host, Match, Pool, Rule, Share, Site

NOWHERE = Endpoint("", 0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_addresses = itertools.count(1)


def new_address() -> str:
    """An address that no other test has, not in this process nor in another one."""
    number = next(_addresses)
    return f"127.{100 + os.getpid() % 100}.{number // 250}.{1 + number % 250}"


def free_port(address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for what comes by itself."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Backend:
    """An HTTP server that says who it is and what it was asked. `handler` answers instead where one is given."""

    name: str
    handler: Handler | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    endpoint: Endpoint = NOWHERE
    _runner: web.AppRunner | None = None

    async def start(self, **site: Any) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        address = self.endpoint.host or new_address()
        server = web.TCPSite(self._runner, address, self.endpoint.port, **site)
        await server.start()
        self.endpoint = Endpoint(address, self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = {
            "backend": self.name,
            "method": request.method,
            "path": request.raw_path,
            "headers": {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
        }
        self.seen.append(asked)
        if self.handler is not None:
            return await self.handler(request)
        asked["body"] = (await request.read()).decode()
        return web.json_response(asked, headers={"X-Backend": self.name})


class Echo(asyncio.Protocol):
    """A TCP server's side: greets with its name where it has one, and sends back what comes, also the end."""

    def __init__(self, name: bytes, open_: set[asyncio.BaseTransport]) -> None:
        self.name, self.open = name, open_

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.open.add(transport)
        if self.name:
            transport.write(self.name + b"\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]

    def eof_received(self) -> bool:
        self.transport.write(b"<end>")  # type: ignore[attr-defined]
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.discard(self.transport)


class TcpBackend:
    """A TCP echo."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: set[asyncio.BaseTransport] = set()
        self.endpoint = Endpoint("", 0)
        self._server: asyncio.Server | None = None

    async def start(self, **server: Any) -> None:
        address = self.endpoint.host or new_address()
        loop = asyncio.get_running_loop()
        made = lambda: Echo(self.name.encode(), self.open)  # noqa: E731
        self._server = await loop.create_server(made, address, self.endpoint.port, **server)
        self.endpoint = Endpoint(address, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self.open):
            transport.abort()  # type: ignore[attr-defined]
        await until(lambda: not self.open)


class UdpBackend(asyncio.DatagramProtocol):
    """Answers each datagram with its name and what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[bytes] = []
        self.endpoint = Endpoint("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.seen.append(data)
        self.transport.sendto(self.name.encode() + b":" + data, addr)  # type: ignore[attr-defined]

    async def start(self) -> None:
        address = new_address()
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, (address, 0))
        self.endpoint = Endpoint(address, self.transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        self.transport.close()


class Lab:
    """An engine and the backends behind it; stopped as a whole."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._started: list[Any] = []

    async def backend(self, name: str, handler: Handler | None = None, pool: bool = True, **site: Any) -> Backend:
        """An HTTP backend, alone in a pool of its name."""
        backend = Backend(name, handler)
        await backend.start(**site)
        self._started.append(backend)
        if pool:
            await self.engine.set_pool(Pool(name, (backend.endpoint,)))
        return backend

    async def tcp_backend(self, name: str, **server: Any) -> TcpBackend:
        backend = TcpBackend(name)
        await backend.start(**server)
        self._started.append(backend)
        return backend

    async def udp_backend(self, name: str) -> UdpBackend:
        backend = UdpBackend(name)
        await backend.start()
        self._started.append(backend)
        return backend

    async def forward(self, *endpoints: Endpoint, transport: Any = "TCP", affinity: int = 0, **front: Any) -> Forward:
        """A forward to these endpoints, in the pool `forwarded`."""
        address = new_address()
        kind = socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM
        await self.engine.set_pool(Pool("forwarded", endpoints, affinity_seconds=affinity))
        made = Forward("forward", address, free_port(address, kind), transport, "forwarded", **front)
        await self.engine.set_front(made)
        return made

    async def edge(self, *rules: Rule, **edge: Any) -> Edge:
        """An edge with these rules for any host, unless `sites` say otherwise."""
        edge.setdefault("sites", (Site(hosts=(Host(rules=rules),)),))
        edge.setdefault("name", "edge")
        address = new_address()
        made = Edge(address=address, port=free_port(address), **edge)
        await self.engine.set_front(made)
        return made

    def keep(self, backend: Any) -> None:
        """Stop it with the others."""
        self._started.append(backend)

    async def stop(self) -> None:
        for backend in reversed(self._started):
            await backend.stop()


def make_engine(name: str) -> Engine:
    if name == "embedded":
        from pilothouse.dataplane.embedded.engine import EmbeddedEngine

        return EmbeddedEngine(SystemClock())
    from pilothouse.dataplane.haproxy import binary
    from pilothouse.dataplane.haproxy.engine import HaproxyEngine

    try:
        binary.check()
    except OSError as missing:
        pytest.skip(str(missing))
    return HaproxyEngine(SystemClock())


def url(edge: Edge, path: str = "/", scheme: str = "") -> str:
    return f"{scheme or ('https' if edge.tls else 'http')}://{edge.address}:{edge.port}{path}"


def to(*pools: str, **rule: Any) -> Rule:
    """A rule that sends what it matches to these pools in equal parts."""
    return Rule(shares=tuple(Share(pool) for pool in pools), **rule)


def under(path: str, *pools: str, **rule: Any) -> Rule:
    """`to`, for a path's prefix."""
    return to(*pools, match=Match(path=path), **rule)
