"""A hub with the cloud-controller-manager on the local provider, and pods that are sockets of this process: real traffic all the way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import EVENTS, NODES, SERVICES, Client, Resource
from pilothouse.client.loopback import twin
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.dataplane.haproxy import binary

Obj = dict[str, Any]
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
#: Ranges and pods that no other process of a test run has.
_SEED = os.getpid() % 200
_numbers = itertools.count(1)


class Pod:
    """What a pod would be: it says its name over HTTP and over UDP, and echoes what follows the first line of a TCP connection."""

    def __init__(self, name: str) -> None:
        number = next(_numbers)
        self.name = name
        self.ip = f"10.{110 + number // 250}.{_SEED}.{1 + number % 250}"
        self.http, self.tcp, self.udp = 8080, 7000, 5300
        self._undo = contextlib.AsyncExitStack()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._undo.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, twin(self.ip), self.http).start()
        server = await asyncio.start_server(self._talk, twin(self.ip), self.tcp)
        self._undo.callback(server.close)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self.name), (twin(self.ip), self.udp))
        self._undo.callback(transport.close)

    async def stop(self) -> None:
        await self._undo.aclose()

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(text=self.name)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.name.encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(self._name.encode() + b":" + data, addr)


class Town:
    """The cluster, and its pods. `stop` and `start` are a restart of all of it but the pods."""

    def __init__(self, certificates: Path, folder: Path, engine: str, config: str = "") -> None:
        if engine == "haproxy":
            try:
                binary.check()
            except OSError as missing:
                pytest.skip(str(missing))
        self.clock = SystemClock()
        self.config = f"engine: {engine}\naddresses: {new_range()}\n{config}"
        self.pods: dict[str, Pod] = {}
        self._certificates = certificates
        self._folder = folder
        self.cluster: Cluster
        self.client: Client

    async def start(self) -> None:
        hub = ApiHub(Settings(self._certificates, port=6443, listen=False), self._folder, self.clock)
        spokes = Spokes(controllers=False, scheduler=False, nodes=0, cloud="local", cloud_config=self.config)
        self.cluster = Cluster(hub, spokes)
        await self.cluster.start()
        self.client = Client(hub.transport("admin", "system:masters"), self.clock)
        if await self.client.find(NODES, "sim") is None:
            await self.client.create(NODES, {"metadata": {"name": "sim", "labels": {"pilothouse.dev/simulated": "true"}}})

    async def stop(self) -> None:
        await self.cluster.stop()

    async def pod(self, name: str) -> Pod:
        self.pods[name] = Pod(name)
        await self.pods[name].start()
        return self.pods[name]

    async def service(self, name: str, *ports: Obj, **spec: Any) -> Obj:
        body = {"type": "LoadBalancer", "ports": list(ports or (HTTP,)), **spec}
        return await self.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": body})

    async def endpoints(self, service: str, *pods: str) -> None:
        """Have exactly these pods behind a Service."""
        ports = [{"name": "http", "port": 8080}, {"name": "tcp", "port": 7000}, {"name": "udp", "port": 5300, "protocol": "UDP"}]
        body = {
            "metadata": {"name": service, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [self.pods[p].ip], "nodeName": "sim", "conditions": {"ready": True}} for p in pods],
        }
        try:
            await self.client.create(SLICES, body)
        except StatusError:
            await self.client.update(SLICES, body)

    async def ingress(self, name: str) -> Obj:
        """What the status tells, as soon as it tells something."""

        async def told() -> Obj | None:
            service = await self.client.get(SERVICES, name, "default")
            found = service["status"]["loadBalancer"].get("ingress")
            return found[0] if found else None

        return await eventually(told)

    async def address(self, name: str) -> str:
        return str((await self.ingress(name))["ip"])

    async def events(self, reason: str) -> list[str]:
        return [e["message"] for e in await self.client.list(EVENTS, "default") if e["reason"] == reason]


HTTP: Obj = {"name": "http", "port": 8080}
TCP: Obj = {"name": "tcp", "port": 7000}
UDP: Obj = {"name": "udp", "port": 7000, "protocol": "UDP"}


def new_range() -> str:
    return f"127.{130 + _SEED % 50}.{next(_numbers) % 250}.0/24"


async def eventually(ask: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """What `ask` gives once it gives something."""
    async with asyncio.timeout(seconds):
        while not (found := await ask()):
            await asyncio.sleep(0.005)
        return found


async def ask_udp(address: str, port: int, message: bytes) -> bytes:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Asking(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if not answer.done():
                answer.set_result(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Asking, remote_addr=(address, port))
    try:
        transport.sendto(message)
        return await asyncio.wait_for(answer, 5)
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def connected(
    address: str, port: int, source: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address, port, local_addr=(source, 0) if source else None)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def name_at(address: str, port: int, source: str | None = None) -> str:
    """Which pod a new TCP connection comes to; "" if none."""
    try:
        async with connected(address, port, source) as (reader, _):
            return (await reader.readline()).decode().strip()
    except ConnectionError:
        return ""
