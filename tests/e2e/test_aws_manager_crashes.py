"""The cloud-controller-manager gets SIGKILL again and again while it works for AWS (moto's server): it converges, and nothing is left in the end.

The hub and the cloud run here, the manager is a process of its own. Each call takes a while, so that most kills come in the middle of something.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killed_manager import Manager

pytest.importorskip("moto", reason="moto[server] is not installed")

from aws_world import REGION, World, running

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import NODES, SERVICES, Client
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import default_name
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]
CLOCK = SystemClock()
KILLS = 6
LATENCY = 0.02
UNINITIALIZED = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}
INGRESSES = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
TYPE = "service.beta.kubernetes.io/aws-load-balancer-type"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    with running() as server:
        server.reset()
        yield World(server)


class Town:
    """What is wanted, as it changes."""

    def __init__(self, client: Client, world: World, dice: random.Random) -> None:
        self.client, self.world, self.dice = client, world, dice
        #: Ports by Service of type LoadBalancer.
        self.ports: dict[str, list[int]] = {}
        self.retired: set[str] = set()
        self.nodes: dict[str, str] = {}
        self.paths: list[str] = []

    async def stir(self, turn: int) -> None:
        """More to do for whoever is just being killed."""
        name = self.dice.choice(sorted(self.ports)) if self.ports else ""
        await self._add_service(f"s{turn}")
        match turn % 4:
            case 1:
                del self.ports[name]
                await self.client.delete(SERVICES, name, "default")
            case 2:
                self.ports[name] = self.dice.sample(range(1, 100), 2)
                await self.client.patch(SERVICES, name, {"spec": _ports(self.ports[name])}, "default", "merge")
            case 3:
                del self.ports[name]
                self.retired.add(name)
                await self.client.patch(SERVICES, name, {"spec": {"type": "ClusterIP"}}, "default", "merge")
        if turn % 3 == 0:
            await self._add_node(turn)
        self.paths = [f"/{turn}", *self.paths][:3]
        await self._put_ingress(turn)

    async def _add_service(self, name: str) -> None:
        self.ports[name] = [80]
        spec = {"type": "LoadBalancer", "selector": {"app": name}, **_ports([80])}
        annotations = {TYPE: self.dice.choice(["nlb", "external"])}
        metadata = {"name": name, "namespace": "default", "annotations": annotations}
        await self.client.create(SERVICES, {"metadata": metadata, "spec": spec})

    async def _add_node(self, turn: int) -> None:
        made = await asyncio.to_thread(self.world.add_node, turn % 2)
        name = made["metadata"]["name"]
        self.nodes[name] = made["metadata"]["uid"]
        cidr = f"10.128.{turn}.0/24"
        spec = {"taints": [UNINITIALIZED], "podCIDR": cidr, "podCIDRs": [cidr]}
        await self.client.create(NODES, {"metadata": {"name": name}, "spec": spec})

    async def _put_ingress(self, turn: int) -> None:
        backend = {"service": {"name": f"s{turn}", "port": {"number": 80}}}
        paths = [{"path": p, "pathType": "Prefix", "backend": backend} for p in self.paths]
        spec = {"ingressClassName": "pilothouse", "rules": [{"host": "www.example.com", "http": {"paths": paths}}]}
        if turn == 0:
            await self.client.create(INGRESSES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        else:
            await self.client.patch(INGRESSES, "web", {"spec": spec}, "default", "merge")

    async def is_right(self) -> bool:
        return await self._nodes_are_right() and await self._services_are_right() and await self._ingress_is_right()

    async def _nodes_are_right(self) -> bool:
        found = await self.client.list(NODES)
        tainted = any(t["key"] == UNINITIALIZED["key"] for n in found for t in n["spec"].get("taints") or ())
        cidrs = {n["spec"]["podCIDR"] for n in found}
        tables = (await asyncio.to_thread(self.world.ec2.describe_route_tables))["RouteTables"]
        routed = {r["DestinationCidrBlock"] for t in tables for r in t["Routes"] if r.get("InstanceId")}
        return {n["metadata"]["name"] for n in found} == set(self.nodes) and cidrs == routed and not tainted

    async def _services_are_right(self) -> bool:
        found = {s["metadata"]["name"]: s for s in await self.client.list(SERVICES, "default")}
        if set(found) - {"kubernetes"} != set(self.ports) | self.retired:
            return False
        wanted = {default_name(found[name]): ports for name, ports in self.ports.items()}
        there = await asyncio.to_thread(self._network_load_balancers)
        hosts = {default_name(found[name]): _host(found[name]) for name in self.ports}
        return (
            {name: sorted(ports) for name, ports in wanted.items()} == {name: ports for name, (ports, _, _) in there.items()}
            and all(targets == set(self.nodes.values()) for _, targets, _ in there.values())
            and all(hosts[name] == host for name, (_, _, host) in there.items())
            and not any(found[n]["metadata"].get("finalizers") for n in self.retired)
        )

    def _network_load_balancers(self) -> dict[str, tuple[list[int], set[str], str]]:
        """By name: ports, targets that all have, and address."""
        elb = self.world.elb
        found = {}
        for balancer in elb.describe_load_balancers()["LoadBalancers"]:
            if balancer["Type"] != "network":
                continue
            listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
            targets: list[set[str]] = []
            for listener in listeners:
                arn = listener["DefaultActions"][0]["TargetGroupArn"]
                health = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
                targets.append({h["Target"]["Id"] for h in health})
            common = targets[0] if targets and all(t == targets[0] for t in targets) else set()
            ports = sorted(listener["Port"] for listener in listeners)
            found[balancer["LoadBalancerName"]] = (ports, common, balancer["DNSName"])
        return found

    async def _ingress_is_right(self) -> bool:
        ingress = await self.client.get(INGRESSES, "web", "default")
        return bool(_host(ingress)) and await asyncio.to_thread(self._paths) == sorted(self.paths)

    def _paths(self) -> list[str]:
        elb = self.world.elb
        for balancer in elb.describe_load_balancers()["LoadBalancers"]:
            if balancer["Type"] == "application":
                for listener in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
                    rules = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
                    conditions = [c for r in rules for c in r["Conditions"] if c["Field"] == "path-pattern"]
                    return sorted(c["PathPatternConfig"]["Values"][0] for c in conditions)
        return []

    async def retire(self) -> None:
        for name in [*self.ports, *self.retired]:
            await self.client.delete(SERVICES, name, "default")
        await self.client.delete(INGRESSES, "web", "default")
        for name in self.nodes:
            await self.client.delete(NODES, name)

    async def is_empty(self) -> bool:
        left = await asyncio.to_thread(self.world.inventory)
        return left == self.world.at_start and len(await self.client.list(SERVICES)) == 1


def _ports(numbers: list[int]) -> Obj:
    return {"ports": [{"name": f"p{n}", "port": n} for n in numbers]}


def _host(obj: Obj) -> str:
    return ((obj["status"].get("loadBalancer") or {}).get("ingress") or [{}])[0].get("hostname", "")


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 90.0) -> None:
    end = CLOCK.monotonic() + seconds
    while not await condition():
        assert CLOCK.monotonic() < end, condition
        await asyncio.sleep(0.2)


async def _worked(world: World, calls: int) -> None:
    """The manager has made so many more calls that change something."""

    async def enough() -> bool:
        return sum(not c.startswith(("Describe", "List")) for c in world.faults.calls) >= calls

    await until(enough)


@pytest.mark.xdist_group("manager-crashes")
async def test_nothing_is_left_at_aws_after_many_kills(tmp_path: Path, world: World) -> None:
    world.remember()
    world.faults.latency = LATENCY
    hub = ApiHub(Settings(cert_dir=tmp_path / "pki", port=0), clock=CLOCK, store=MemoryStore(CLOCK))
    config = tmp_path / "cloud.ini"
    config.write_text(f"[Global]\nZone = {REGION}a\nVPC = {world.vpc}\nEndpointURL = {world.server.url}\n")
    dice = random.Random(7)
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        kubeconfig = tmp_path / "kubeconfig"
        hub.write_kubeconfig(kubeconfig)
        town = Town(Client(hub.transport("admin", "system:masters"), CLOCK), world, dice)
        manager = Manager(
            "cloud-controller-manager", kubeconfig, "--cloud-provider", "aws", "--cloud-config", str(config),
            "--cluster-name", "test", "--use-service-account-credentials", "--allocate-node-cidrs",
            "--cluster-cidr", "10.128.0.0/14", "--route-reconciliation-period", "1s", "--node-monitor-period", "1s",
            "--concurrent-service-syncs", "3",
        )  # fmt: skip
        await manager.start()
        for turn in range(KILLS):
            world.faults.calls.clear()
            await town.stir(turn)
            await _worked(world, dice.randrange(1, 12))
            await manager.kill()
            await manager.start()
        await until(town.is_right)
        await manager.kill()
        await manager.start()
        world.faults.calls.clear()
        await town.retire()
        await _worked(world, 4)
        await manager.kill()
        await manager.start()
        await until(town.is_empty)
        await manager.kill()
