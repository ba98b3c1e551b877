"""A cluster at a fake cloud where Services, Gateways and nodes come, change and go at random, and what is to come of it."""

from __future__ import annotations

import random
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.client import NODES, SERVICES, Client, Resource
from pilothouse.cloud.provider import default_name
from pilothouse.testing.cloud import Shelf, left

Obj = dict[str, Any]
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
UNINITIALIZED = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}


class Town:
    """What is wanted, as it changes."""

    def __init__(self, client: Client, shelf: Shelf, dice: random.Random) -> None:
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
            await self._lose_gateway(self.dice.choice(sorted(self.gateways)))
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

    async def _lose_gateway(self, name: str) -> None:
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

    async def leave(self) -> None:
        """Nothing is wanted any more."""
        for name in [*self.ports, *self.retired]:
            await self.client.delete(SERVICES, name, "default")
        for name in sorted(self.nodes):
            await self.client.delete(NODES, name)
        for name in sorted(self.gateways):
            await self._lose_gateway(name)

    async def is_empty(self) -> bool:
        return left(self.shelf) == {} and {s["metadata"]["name"] for s in await self.client.list(SERVICES)} == {"kubernetes"}


def _ports(numbers: list[int]) -> Obj:
    return {"ports": [{"name": f"p{n}", "port": n} for n in numbers]}


def _ip(service: Obj) -> str:
    return ((service["status"].get("loadBalancer") or {}).get("ingress") or [{}])[0].get("ip", "")
