"""The provider and the manager around it: started when the controllers are, closed after them."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.client.reconcile.manager import ControllerManager, Options
from pilothouse.cloud.component import make_manager
from pilothouse.cloud.provider import CloudError, Surroundings
from pilothouse.testing.cloud import FakeProvider

from .world import World, world


class Watching(FakeProvider):
    """Follows Services, and cannot be reached the first few times. `log` is what happened to it."""

    def __init__(self, cluster: World, failures: int = 0, **more: Any) -> None:
        super().__init__(cluster.clock, cluster.shelf, **more)
        self.failures = failures
        self.log: list[str] = []
        self.seen: list[str] = []

    async def start(self, around: Surroundings) -> None:
        await super().start(around)
        self.log.append("start")
        self.services = around.cache(SERVICES)
        self.services.add_handler(lambda old, new: self.seen.append((new or old)["metadata"]["name"]))
        if len(self.log) // 2 < self.failures:
            raise CloudError("unreachable")

    async def close(self) -> None:
        await super().close()
        self.log.append("close")

    def load_balancers(self) -> Any:
        self.log.append(f"parts with {len(list(self.services.list()))} services")
        return super().load_balancers()


def manager(cluster: World, provider: FakeProvider, **options: Any) -> ControllerManager:
    own = cluster.hub.transport("system:cloud-controller-manager", "system:masters")
    return make_manager(provider, own, cluster.clock, Options(**options))


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_provider_is_started_with_complete_caches_and_closed_in_the_end() -> None:
    async with world() as cluster:
        provider = Watching(cluster)
        await cluster.service()
        task = asyncio.create_task(manager(cluster, provider, leader_elect=False).run())
        await cluster.settle()
        assert provider.log == ["start", "parts with 2 services"]
        assert await cluster.ip() == "198.18.0.1"
        await ended(task)
        assert provider.log[-1] == "close"


async def test_a_cloud_that_cannot_be_reached_at_the_start_is_tried_again() -> None:
    async with world() as cluster:
        provider = Watching(cluster, failures=3)
        await cluster.service()
        task = asyncio.create_task(manager(cluster, provider, leader_elect=False).run())
        await cluster.settle(5)
        assert provider.log == ["start", "close"] * 2 + ["start", "close"]
        await cluster.settle(5)
        assert provider.log[6:] == ["start", "parts with 2 services"]
        provider.seen.clear()
        await cluster.service("other")
        await cluster.settle()
        assert provider.seen.count("other") <= 3, "what was followed by starts that failed is not followed any more"
        await ended(task)


async def test_only_the_leader_starts_its_provider() -> None:
    async with world() as cluster:
        providers = [Watching(cluster), Watching(cluster)]
        tasks = [
            asyncio.create_task(manager(cluster, p, leader_elect=True, identity=str(n)).run()) for n, p in enumerate(providers)
        ]
        await cluster.settle(30)
        assert sorted(len(p.log) for p in providers) == [0, 2]
        leader = next(n for n, p in enumerate(providers) if p.log)
        await ended(tasks[leader])
        assert providers[leader].log[-1] == "close"
        await cluster.settle(30)
        assert providers[1 - leader].log == ["start", "parts with 1 services"]
        await ended(tasks[1 - leader])


async def test_controllers_run_where_the_provider_has_the_part_that_they_need() -> None:
    async with world() as cluster:
        provider = FakeProvider(cluster.clock, cluster.shelf, without=("instances", "gateways"))
        running = manager(cluster, provider, leader_elect=False)
        task = asyncio.create_task(running.run())
        await cluster.settle()
        assert set(running.checks()) == {"service-lb-controller"}
        await ended(task)
