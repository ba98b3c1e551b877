"""The cloud-controller-manager gets SIGKILL again and again while Services, Gateways and nodes come, change and go: nothing is left at the cloud in the end.

The hub runs here, the manager is a process of its own, and the cloud is a file that outlives it. Each call to the cloud takes a while, so that
most kills come in the middle of something.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cloud_town import Town
from killed_manager import Manager
from published_provider import NAME, publish

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import Client
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore
from pilothouse.testing.cloud import FileShelf, left

Obj = dict[str, Any]
CLOCK = SystemClock()
KILLS = 12
LATENCY = 0.02


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 120.0) -> None:
    end = CLOCK.monotonic() + seconds
    while not await condition():
        assert CLOCK.monotonic() < end, condition
        await asyncio.sleep(0.1)


async def _changed(shelf: FileShelf, before: Obj) -> bool:
    return left(shelf) != before


@pytest.mark.xdist_group("manager-crashes")
async def test_nothing_is_left_at_the_cloud_after_many_kills(tmp_path: Path) -> None:
    hub = ApiHub(Settings(cert_dir=tmp_path / "pki", port=0), clock=CLOCK, store=MemoryStore(CLOCK))
    shelf = FileShelf(tmp_path / "cloud.db")
    config = tmp_path / "cloud.yaml"
    config.write_text(f"file: {tmp_path / 'cloud.db'}\nlatency: {LATENCY}\n")
    dice = random.Random(11)
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        kubeconfig = tmp_path / "kubeconfig"
        hub.write_kubeconfig(kubeconfig)
        client = Client(hub.transport("admin", "system:masters"), CLOCK)
        manager = Manager(
            "cloud-controller-manager", kubeconfig, "--cloud-provider", NAME, "--cloud-config", str(config),
            "--use-service-account-credentials", "--allocate-node-cidrs", "--cluster-cidr", "10.128.0.0/14",
            "--route-reconciliation-period", "1s", "--node-monitor-period", "1s", "--concurrent-service-syncs", "3",
            path=publish(tmp_path / "site"),
        )  # fmt: skip
        town = Town(client, shelf, dice)
        await manager.start()
        for turn in range(KILLS):
            before = left(shelf)
            await town.stir(turn)
            await until(lambda before=before: _changed(shelf, before))
            await asyncio.sleep(dice.uniform(0.0, 0.4))  # any moment in the middle of its work
            await manager.kill()
            await manager.start()
        await until(town.nodes_are_right)
        await until(town.services_are_right)
        await until(town.gateways_are_right)
        assert town.gateways, "the API was installed in spite of all"
        await manager.kill()
        await manager.start()
        await town.leave()
        before = left(shelf)
        await until(lambda: _changed(shelf, before))
        await manager.kill()
        await manager.start()
        await until(town.is_empty)
        await manager.kill()
    shelf.close()
