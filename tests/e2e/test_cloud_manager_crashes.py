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
from killed_manager import Manager
from published_provider import NAME, publish

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import NODES, SERVICES, Client, Resource
from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import default_name
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore
from pilothouse.testing.cloud import FileShelf, left

Obj = dict[str, Any]
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
CLOCK = SystemClock()
KILLS = 15
LATENCY = 0.02
UNINITIALIZED = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    end = CLOCK.monotonic() + seconds
    while not await condition():
        assert CLOCK.monotonic() < end, condition
        await asyncio.sleep(0.1)


class Town:
    """What is wanted, as it changes."""

    def __init__(self, client: Client, shelf: FileShelf, dice: random.Random) -> None:
        self.client, self.shelf, self.dice = client, shelf, dice
        #: Ports by Service of type LoadBalancer, and Services that want no load balancer any more.
        self.ports: dict[str, list[int]] = {}
        self.retired: set[str] = set()
        self.nodes: set[str] = set()
        self.gateways: set[str] = set()

    async def stir(self, turn: int) -> None:
        """One more thing to do for whoever is just being killed."""
        name = self.dice.choice(sorted(self.ports)) if self.ports else ""
        await self._add_service(f"s{turn}")
        match self.dice.randrange(4) if name else 3:
            case 0:
                self.ports.pop(name)
                await self.client.delete(SERVICES, name, "default")
            case 1:
                self.ports.pop(name)
                self.retired.add(name)
                await self.client.patch(SERVICES, name, {"spec": {"type": "ClusterIP"}}, "default", "merge")
            case 2:
                self.ports[name] = self.dice.sample(range(1, 100), 2)
                await self.client.patch(SERVICES, name, {"spec": _ports(self.ports[name])}, "default", "merge")
            case _:
                await self._add_node(f"n{turn}")
        if self.gateways and self.dice.random() < 0.3:
            await self.lose_gateway(self.dice.choice(sorted(self.gateways)))
        elif self.dice.random() < 0.6:
            await self._add_gateway(f"g{turn}")
        if turn % 5 == 4 and self.nodes:
            await self._lose_node(self.dice.choice(sorted(self.nodes)))

    async def _add_service(self, name: str) -> None:
        self.ports[name] = [80]
        spec = {"type": "LoadBalancer", "selector": {"app": name}, **_ports([80])}
        await self.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})

    async def _add_node(self, name: str) -> None:
        number = name[1:]
        self.nodes.add(name)
        self.shelf.put("instances", name, {"id": name, "addresses": [{"type": "InternalIP", "address": f"10.0.0.{number}"}]})
        cidr = f"10.128.{number}.0/24"
        spec = {"taints": [UNINITIALIZED], "podCIDR": cidr, "podCIDRs": [cidr]}
        await self.client.create(NODES, {"metadata": {"name": name}, "spec": spec})

    async def _lose_node(self, name: str) -> None:
        self.nodes.discard(name)
        self.shelf.drop("instances", name)

    async def _add_gateway(self, name: str) -> None:
        """If the Gateway API is served already: a manager installs it when it starts, and is killed while it does."""
        listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
        spec = {"gatewayClassName": "pilothouse", "listeners": listeners}
        meta = {"name": name, "namespace": "default"}
        try:
            await self.client.create(
                GATEWAYS, {"apiVersion": GATEWAYS.api_version, "kind": "Gateway", "metadata": meta, "spec": spec}
            )
        except StatusError as error:
            assert error.code == 404
        else:
            self.gateways.add(name)

    async def lose_gateway(self, name: str) -> None:
        self.gateways.discard(name)
        await self.client.delete(GATEWAYS, name, "default")

    async def gateways_are_right(self) -> bool:
        at_cloud = self.shelf.all("gateways")
        found = {g["metadata"]["name"]: g for g in await self.client.list(GATEWAYS, "default")}
        told = {n: [a["value"] for a in (g.get("status") or {}).get("addresses") or ()] for n, g in found.items()}
        wanted = {n: [at_cloud.get(f"Gateway/default/{n}", {}).get("ip")] for n in self.gateways}
        return told == wanted and len(at_cloud) == len(wanted)

    async def nodes_are_right(self) -> bool:
        found = await self.client.list(NODES)
        routed = {r["node"] for r in self.shelf.all("routes").values()}
        tainted = [n for n in found if any(t["key"] == UNINITIALIZED["key"] for t in n["spec"].get("taints") or ())]
        return {n["metadata"]["name"] for n in found} == self.nodes == routed and not tainted

    async def services_are_right(self) -> bool:
        found = {s["metadata"]["name"]: s for s in await self.client.list(SERVICES, "default")}
        if set(found) - {"kubernetes"} != set(self.ports) | self.retired:
            return False
        wanted = {default_name(found[name]): ports for name, ports in self.ports.items()}
        addresses, targets = self.shelf.all("addresses"), self.shelf.all("targets")
        listeners = {f"{name}/TCP/{port}" for name, ports in wanted.items() for port in ports}
        return (
            set(addresses) == set(self.shelf.all("balancers")) == set(targets) == set(wanted)
            and set(self.shelf.all("listeners")) == listeners
            and all(set(t["nodes"]) == self.nodes for t in targets.values())
            and all(_ip(found[n]) == addresses[default_name(found[n])]["ip"] for n in self.ports)
            and not any(found[n]["metadata"].get("finalizers") or _ip(found[n]) for n in self.retired)
        )

    async def is_empty(self) -> bool:
        return left(self.shelf) == {} and {s["metadata"]["name"] for s in await self.client.list(SERVICES)} == {"kubernetes"}


async def _changed(shelf: FileShelf, before: Obj) -> bool:
    return left(shelf) != before


def _ports(numbers: list[int]) -> Obj:
    return {"ports": [{"name": f"p{n}", "port": n} for n in numbers]}


def _ip(service: Obj) -> str:
    return ((service["status"].get("loadBalancer") or {}).get("ingress") or [{}])[0].get("ip", "")


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
        for name in [*town.ports, *town.retired]:
            await client.delete(SERVICES, name, "default")
        for name in town.nodes:
            await client.delete(NODES, name)
        for name in sorted(town.gateways):
            await town.lose_gateway(name)
        before = left(shelf)
        await until(lambda: _changed(shelf, before))
        await manager.kill()
        await manager.start()
        await until(town.is_empty)
        await manager.kill()
    shelf.close()
