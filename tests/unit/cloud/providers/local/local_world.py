"""The local provider over a hub in memory, with an engine that only remembers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.reconcile.context import ControllerContext, Shared
from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, NODES, SERVICES, Kind
from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.requests import Requests
from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import Surroundings
from pilothouse.cloud.providers.local.config import parse
from pilothouse.cloud.providers.local.gateways import LocalGateways
from pilothouse.cloud.providers.local.provider import LocalProvider
from pilothouse.cloud.providers.local.services import LocalLoadBalancers
from pilothouse.cluster import ApiHub
from pilothouse.dataplane.engine import FrontCounters
from pilothouse.dataplane.model import Front, Pool
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]


@dataclass
class Carried:
    connections: int = 0
    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)


class MemoryEngine:
    """An `Engine` that carries nothing. `refuses` are ports that cannot be listened on when it comes to it."""

    name = "memory"

    def __init__(self) -> None:
        self.running = False
        self.pools: dict[str, Pool] = {}
        self.fronts: dict[str, Front] = {}
        self.told: list[str] = []
        self.refuses: set[int] = set()
        self.faults: list[Exception] = []
        self.front_faults: list[Exception] = []
        #: For calls that drop something, one each; None: it goes well.
        self.drop_faults: list[Exception | None] = []
        self.carried: dict[str, Carried] = {}

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False
        self.fronts.clear()
        self.pools.clear()

    async def set_pool(self, pool: Pool) -> None:
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        self.told.append(pool.name)
        self.pools[pool.name] = pool

    async def drop_pool(self, name: str) -> None:
        self._perhaps_fail()
        self.pools.pop(name, None)

    async def set_front(self, front: Front) -> None:
        await asyncio.sleep(0)
        if self.front_faults:
            raise self.front_faults.pop(0)
        if front.port in self.refuses:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self.fronts[front.name] = front

    async def drop_front(self, name: str) -> None:
        self._perhaps_fail()
        self.fronts.pop(name, None)

    def _perhaps_fail(self) -> None:
        fault = self.drop_faults.pop(0) if self.drop_faults else None
        if fault is not None:
            raise fault

    def counters(self) -> Mapping[str, FrontCounters]:
        return self.carried

    def places(self) -> dict[str, str]:
        """Fronts by name, as `address:port`."""
        return {name: f"{f.address}:{f.port}" for name, f in self.fronts.items()}

    def endpoints(self, pool: str) -> list[str]:
        return [f"{e.host}:{e.port}" for e in self.pools[pool].endpoints]


class World:
    """A provider that has been started, and the cluster around it. `taken` are places where somebody else listens."""

    def __init__(self, hub: ApiHub, provider: LocalProvider, engine: MemoryEngine) -> None:
        self.hub = hub
        self.provider = provider
        self.engine = engine
        self.events: list[tuple[str, str]] = []
        self.api = Requests(hub.transport("admin", "system:masters"), "test")
        self.services: Cache

    @property
    def balancers(self) -> LocalLoadBalancers:
        found = self.provider.load_balancers()
        assert isinstance(found, LocalLoadBalancers)
        return found

    @property
    def gateways(self) -> LocalGateways:
        found = self.provider.gateways()
        assert isinstance(found, LocalGateways)
        return found

    async def create(self, name: str, *ports: Obj, annotations: dict[str, str] | None = None, **spec: Any) -> Obj:
        meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
        body = {"metadata": meta, "spec": {"type": "LoadBalancer", "ports": list(ports or (http(),)), **spec}}
        return await self.known(await self.api.create(SERVICES, body))

    async def change(self, name: str, **spec: Any) -> Obj:
        return await self.known(await self.api.patch(SERVICES, "default", name, {"spec": spec}, "merge"))

    async def known(self, service: Obj) -> Obj:
        """Wait until the provider's cache has this version."""
        meta = service["metadata"]

        def there() -> bool:
            found = self.services.get(meta["namespace"], meta["name"])
            return found is not None and int(found["metadata"]["resourceVersion"]) >= int(meta["resourceVersion"])

        await until(there)
        return service

    async def ensure(self, service: Obj) -> Obj:
        """What the controller does: ensure, and write the status. The ingress that was told."""
        status = await self.balancers.ensure("kubernetes", service, [])
        patch = {"status": {"loadBalancer": status}}
        await self.known(await self.api.patch(SERVICES, "default", service["metadata"]["name"], patch, "merge", "status"))
        ingress: Obj = status["ingress"][0]
        return ingress

    async def delete(self, name: str) -> None:
        service = await self.api.get(SERVICES, "default", name)
        await self.balancers.ensure_deleted("kubernetes", service)
        await self.api.delete(SERVICES, "default", name)
        await until(lambda: self.services.get("default", name) is None)

    async def put_slice(
        self, name: str, service: str, *addresses: str, port: str = "http", number: int = 8080, node: str = "sim"
    ) -> None:
        body = {
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": port, "port": number, "protocol": "TCP"}],
            "endpoints": [{"addresses": [a], "nodeName": node, "conditions": {"ready": True}} for a in addresses],
        }
        try:
            await self.api.create(ENDPOINT_SLICES, body)
        except Exception:
            await self.api.update(ENDPOINT_SLICES, body)

    async def put_node(self, name: str, simulated: bool = True) -> None:
        labels = {"pilothouse.dev/simulated": "true"} if simulated else {}
        await self.api.create(NODES, {"metadata": {"name": name, "labels": labels}})


def http(port: int = 8080, name: str = "http", protocol: str = "TCP") -> Obj:
    return {"name": name, "port": port, "protocol": protocol}


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def hub_in_memory(folder: Path) -> AsyncIterator[ApiHub]:
    clock = SystemClock(seed=1)
    hub = ApiHub(Settings(folder, port=6443, listen=False), clock=clock, store=MemoryStore(clock))
    await hub.server.start()
    try:
        yield hub
    finally:
        await hub.server.stop()


@contextlib.asynccontextmanager
async def a_world(
    hub: ApiHub, config: str = "", taken: set[tuple[str, int]] | None = None, absent: str = "nothing"
) -> AsyncIterator[World]:
    """A provider in front of this hub. `taken` are addresses and ports where somebody else listens; any address: "".

    Addresses that begin with `absent` are not this machine's.
    """
    engine = MemoryEngine()
    others = taken or set()

    def probe(address: str, port: int, transport: str) -> int:
        if address.startswith(absent):
            return errno.EADDRNOTAVAIL
        return errno.EADDRINUSE if others & {(address, port), ("", port)} else 0

    world = World(hub, LocalProvider(parse(config), hub.clock, lambda: engine, probe), engine)
    shared = Shared(hub.transport("admin", "system:masters"), hub.clock)
    context = ControllerContext("cloud-provider", "test", shared, shared.transport, {})
    caches: list[Cache] = []

    def cache(kind: Kind) -> Cache:
        caches.append(context.cache(kind))
        return caches[-1]

    def event(about: Obj, kind: Kind, type: str, reason: str, message: str) -> None:
        world.events.append((reason, message))

    following = asyncio.create_task(shared.run())
    await world.provider.start(Surroundings(hub.clock, "kubernetes", cache, context.api, event))
    world.services = cache(SERVICES)
    await context.synced(caches)
    try:
        yield world
    finally:
        await world.provider.close()
        context.close()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
