"""A hub in this process, in virtual time, with the cloud-controller-manager on a fake cloud: what the tests of its controllers stand on."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import EVENTS, NODES, SERVICES, Client
from pilothouse.client.reconcile.manager import ControllerManager, Options
from pilothouse.clock import VirtualClock, rfc3339
from pilothouse.cloud.component import make_manager
from pilothouse.cluster import ApiHub
from pilothouse.store.memory import MemoryStore
from pilothouse.testing.cloud import FakeProvider, MemoryShelf, left

Obj = dict[str, Any]
UNINITIALIZED = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}
PLAIN: Obj = {}
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"


def taints(node: Obj) -> list[str]:
    """Keys of its taints, apart from the one that says that it is not ready (which another controller sees to)."""
    return [t["key"] for t in node["spec"].get("taints") or () if t["key"] != "node.kubernetes.io/not-ready"]


@functools.cache
def certificates() -> Path:
    return Path(tempfile.mkdtemp(prefix="pilothouse-cloud-"))


class World:
    """A cluster and its cloud. `start` and `stop` the manager as often as wanted: the cloud stays."""

    def __init__(self) -> None:
        self.clock = VirtualClock(grace=0.0)  # nothing here waits for anything outside the event loop
        self.hub = ApiHub(Settings(certificates(), port=6443, listen=False), clock=self.clock, store=MemoryStore(self.clock))
        self.client = Client(self.hub.transport("admin", "system:masters"), self.clock)
        self.shelf = MemoryShelf()
        self.provider = FakeProvider(self.clock, self.shelf)
        self.manager: ControllerManager | None = None
        self._task: asyncio.Task[None] | None = None

    # --- the manager ---------------------------------------------------------------------------------------------------------------

    async def start(self, *controllers: str, seconds: float = 1.0, **settings: Any) -> None:
        """Start the manager, each controller with its own account, and let so much time pass."""
        self.begin(*controllers, **settings)
        await self.clock.advance(seconds)

    def begin(self, *controllers: str, **settings: Any) -> None:
        """Start it, and wait for nothing."""
        faults, self.provider = self.provider.faults, FakeProvider(self.clock, self.shelf)
        self.provider.faults = faults
        options = Options(controllers or ("*",), leader_elect=False, use_service_account_credentials=True, settings=settings)
        own = self.hub.transport("system:cloud-controller-manager", "system:masters")
        self.manager = make_manager(self.provider, own, self.clock, options, self.hub.account_transport)
        self._task = asyncio.create_task(self.manager.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def settle(self, seconds: float = 1.0) -> None:
        await self.clock.advance(seconds)

    # --- the cluster ---------------------------------------------------------------------------------------------------------------

    async def service(self, name: str = "web", *, annotations: dict[str, str] | None = None, **spec: Any) -> Obj:
        body = {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80}], **spec}
        return await self.client.create(
            SERVICES, {"metadata": {"name": name, "namespace": "default", "annotations": annotations or {}}, "spec": body}
        )

    async def change(self, name: str = "web", **spec: Any) -> Obj:
        return await self.client.patch(SERVICES, name, {"spec": spec}, "default", "merge")

    async def found(self, name: str = "web") -> Obj | None:
        return await self.client.find(SERVICES, name, "default")

    async def ip(self, name: str = "web") -> str:
        """The address of its load balancer, "" without."""
        found = await self.found(name)
        points = ((found or {}).get("status") or {}).get("loadBalancer", {}).get("ingress") or [{}]
        return points[0].get("ip") or ""

    async def node(self, name: str, *, ready: str = "True", taints: Sequence[Obj] = (), instance: Obj | None = PLAIN, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Obj:  # fmt: skip
        """A node that says whether it is ready, and an instance for it (None: there is none)."""
        if instance is not None:
            self.shelf.put("instances", name, {"id": f"i-{name}", **instance})
        meta = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        await self.client.create(NODES, {"metadata": meta, "spec": {"taints": list(taints), **spec}})
        return await self.say_ready(name, ready)

    async def say_ready(self, name: str, ready: str) -> Obj:
        told = {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(self.clock.now())}
        return await self.client.patch(NODES, name, {"status": {"conditions": [told]}}, subresource="status")

    async def find_node(self, name: str) -> Obj | None:
        return await self.client.find(NODES, name)

    async def events(self, name: str) -> list[str]:
        """Reasons and messages of the events about something, in the order in which they were first told."""
        return [f"{e['reason']}: {e['message']}" for e in await self.raw_events(name)]

    async def reasons(self, name: str) -> list[str]:
        return [e["reason"] for e in await self.raw_events(name)]

    async def raw_events(self, name: str) -> list[Obj]:
        found = [e for e in await self.client.list(EVENTS) if e["involvedObject"]["name"] == name]
        return sorted(found, key=lambda e: int(e["metadata"]["resourceVersion"]) if e["count"] == 1 else 0)

    def left(self) -> dict[str, list[str]]:
        """What is at the cloud, apart from instances."""
        return left(self.shelf)

    async def until(self, condition: Callable[[], Any], limit: float = 3600.0) -> float:
        return await self.clock.run_until(condition, limit)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    await made.hub.server.start()
    try:
        yield made
    finally:
        await made.stop()
        await made.hub.server.stop()
