"""The manager is stopped, or its cloud fails, at each single call to the cloud in the lives of nodes and Services: the end is always the same.

What is wanted comes about in the end, and when all is deleted nothing is left at the cloud.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from cloud_town import Town as RandomTown

from pilothouse.client.client import NODES, SERVICES
from pilothouse.client.reconcile.objects import condition
from pilothouse.cloud.provider import CloudError, Throttled, default_name

from .trouble import LIMIT, WAYS, play, play_with_trouble_everywhere, troubled
from .world import UNINITIALIZED, World, taints, world

FLAGS = {"allocate_node_cidrs": True, "configure_cloud_routes": True, "cluster_cidr": "10.128.0.0/14"}


async def node(cluster: World, number: int) -> None:
    name, cidr = f"n{number}", f"10.128.{number}.0/24"
    addresses = [{"type": "InternalIP", "address": f"10.0.0.{number}"}]
    await cluster.node(name, taints=[UNINITIALIZED], instance={"addresses": addresses}, podCIDR=cidr, podCIDRs=[cidr])


class Town:
    """Nodes and Services come, change and go."""

    controllers = ("cloud-node", "cloud-node-lifecycle", "service", "route")
    settings = FLAGS

    async def tell(self, cluster: World) -> None:
        self.cluster = cluster
        await node(cluster, 1)
        await node(cluster, 2)
        self.web = await cluster.service("web")
        self.api = await cluster.service("api", ports=[{"port": 443}])
        await cluster.until(self.all_is_there, LIMIT)
        await cluster.change("web", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}])
        await node(cluster, 3)
        cluster.shelf.drop("instances", "n2")
        await cluster.say_ready("n2", "Unknown")
        await cluster.until(self.all_has_changed, LIMIT)
        await cluster.change("api", type="ClusterIP")
        await cluster.client.delete(SERVICES, "web", "default")
        await cluster.until(self.services_are_through, LIMIT)
        for name in ("n1", "n3"):
            await cluster.client.delete(NODES, name)
        await cluster.client.delete(SERVICES, "api", "default")
        await cluster.until(lambda: cluster.left() == {}, LIMIT)

    async def all_is_there(self) -> bool:
        return await self.nodes_are("n1", "n2") and await self.services_have("n1", "n2", web=["80"], api=["443"])

    async def all_has_changed(self) -> bool:
        return await self.nodes_are("n1", "n3") and await self.services_have("n1", "n3", web=["80", "81"], api=["443"])

    async def nodes_are(self, *names: str) -> bool:
        found = {n["metadata"]["name"]: n for n in await self.cluster.client.list(NODES)}
        routed = {r["node"] for r in self.cluster.shelf.all("routes").values()}
        return set(found) == set(names) == routed and all(
            not taints(n)
            and n["spec"].get("providerID") == f"fake://i-{name}"
            and [a["address"] for a in n["status"].get("addresses") or ()] == [f"10.0.0.{name[1]}"]
            and (condition(n, "NetworkUnavailable") or {}).get("status") == "False"
            for name, n in found.items()
        )

    async def services_have(self, *nodes: str, **ports: list[str]) -> bool:
        shelf = self.cluster.shelf
        for name, wanted in ports.items():
            at_cloud = default_name(getattr(self, name))
            listeners = [n.rpartition("/")[2] for n in sorted(shelf.all("listeners")) if n.startswith(at_cloud)]
            address = shelf.get("addresses", at_cloud)
            if listeners != wanted or shelf.get("targets", at_cloud) != {"nodes": list(nodes)} or address is None:
                return False
            if await self.cluster.ip(name) != address["ip"]:
                return False
        return True

    async def services_are_through(self) -> bool:
        api = await self.cluster.found("api")
        assert api is not None
        through = not api["metadata"].get("finalizers") and not api["status"]["loadBalancer"]
        return through and await self.cluster.found("web") is None and set(self.cluster.left()) <= {"routes"}


async def test_an_untroubled_story_ends_well_and_is_the_same_each_time() -> None:
    async with world() as cluster:
        assert await play(cluster, Town()) == await play(cluster, Town()) > 50


@pytest.mark.parametrize("way", WAYS)
async def test_trouble_at_any_call_changes_nothing_of_the_end(way: str) -> None:
    async with world() as cluster:
        await play_with_trouble_everywhere(cluster, Town(), way)


@pytest.mark.parametrize("way", WAYS)
async def test_a_service_that_goes_while_it_is_made_leaves_nothing(way: str) -> None:
    """The manager is stopped at a call; the Service is deleted, or wants no load balancer any more, before there is another manager."""
    calls = await interrupted(0, way, retype=False)
    for number in range(1, calls + 1):
        for retype in (False, True):
            await interrupted(number, way, retype)


async def interrupted(number: int, way: str, retype: bool) -> int:
    """How many calls there were before the Service was deleted, or changed its type."""
    async with world() as cluster:
        faults = cluster.provider.faults
        hit = asyncio.Event()

        async def watch(call: int, name: str, done: bool) -> None:
            if call == number and way.endswith("after" if done else "before"):
                hit.set()
                if way.startswith("stopped"):
                    await asyncio.Event().wait()
                raise CloudError("broken")

        faults.watcher = watch
        cluster.begin("service")
        await cluster.service()
        await cluster.settle(0.5)
        calls = len(faults.made)
        await cluster.stop()
        if retype:
            await cluster.change(type="ClusterIP")
        else:
            await cluster.client.delete(SERVICES, "web", "default")
        cluster.begin("service")
        await cluster.settle(30)
        assert hit.is_set() == bool(number) and cluster.left() == {}, f"{way} call {number}"
        assert not ((await cluster.found()) or {"metadata": {}})["metadata"].get("finalizers")
        return calls


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_to_a_town_and_its_cloud_the_end_is_what_was_asked_for(seed: int) -> None:
    """Twenty things are asked for, one after the other; one call in eight ends badly, in whichever way."""
    dice = random.Random(seed)
    async with world() as cluster, troubled(cluster, **FLAGS) as stop:
        faults = cluster.provider.faults
        town = RandomTown(cluster.client, cluster.shelf, dice)

        async def watch(call: int, name: str, done: bool) -> None:
            if dice.random() > 1 / 16:
                return
            if dice.random() < 0.5:
                await stop()
            raise dice.choice([CloudError("broken"), Throttled("slow down", 3.0), ConnectionResetError("reset")])

        for part in range(2):
            faults.watcher = watch
            for turn in range(10):
                await town.stir(10 * part + turn)
                await cluster.settle(dice.choice([0.0, 0.1, 2.0, 15.0]))
            faults.watcher = None
            for condition in (town.nodes_are_right, town.services_are_right, town.gateways_are_right):
                await cluster.until(condition, LIMIT)
        faults.watcher = watch
        await town.leave()
        await cluster.settle(1.0)
        faults.watcher = None
        await cluster.until(town.is_empty, LIMIT)
