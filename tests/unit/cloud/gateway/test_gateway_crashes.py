"""The manager is stopped, or its cloud fails, at each single call to the cloud in the lives of a Gateway and of an Ingress: the end is always the same."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.errors import StatusError
from pilothouse.client.client import SERVICES, Resource
from pilothouse.client.reconcile.objects import condition

from ..trouble import LIMIT, WAYS, play, play_with_trouble_everywhere
from ..world import World, world

GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses")


def gateway(*ports: int) -> dict[str, Any]:
    listeners = [{"name": f"port-{p}", "port": p, "protocol": "HTTP"} for p in ports]
    meta = {"name": "door", "namespace": "default"}
    spec = {"gatewayClassName": "pilothouse", "listeners": listeners}
    return {"apiVersion": GATEWAYS.api_version, "kind": "Gateway", "metadata": meta, "spec": spec}


def ingress() -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    spec = {"ingressClassName": "pilothouse", "defaultBackend": backend}
    return {"metadata": {"name": "window", "namespace": "default"}, "spec": spec}


class Doors:
    """A Gateway and an Ingress come, change and go."""

    controllers = ("gateway-class", "gateway", "ingress")
    settings: dict[str, Any] = {}  # noqa: RUF012

    async def tell(self, cluster: World) -> None:
        self.cluster = cluster
        await cluster.until(self.the_api_is_served, LIMIT)
        await cluster.service("web", type="ClusterIP")
        await cluster.client.create(GATEWAYS, gateway(80))
        await cluster.client.create(INGRESSES, ingress())
        await cluster.until(lambda: self.are_open(1), LIMIT)
        await cluster.client.patch(GATEWAYS, "door", {"spec": gateway(80, 81)["spec"]}, "default", "merge")
        await cluster.until(lambda: self.are_open(2), LIMIT)
        for kind, name in ((GATEWAYS, "door"), (INGRESSES, "window"), (SERVICES, "web")):
            await cluster.client.delete(kind, name, "default")
        await cluster.until(self.are_gone, LIMIT)

    async def the_api_is_served(self) -> bool:
        """As soon as some manager has installed it."""
        try:
            await self.cluster.client.list(GATEWAYS, "default")
        except StatusError:
            return False
        return True

    async def are_open(self, edges: int) -> bool:
        shelf, client = self.cluster.shelf, self.cluster.client
        door, window = shelf.get("gateways", "Gateway/default/door"), shelf.get("gateways", "IngressClass/pilothouse")
        if door is None or window is None or len(door["edges"]) != edges:
            return False
        told = await client.get(GATEWAYS, "door", "default")
        addresses = [a["value"] for a in (told.get("status") or {}).get("addresses") or ()]
        programmed = (condition(told, "Programmed") or {}).get("status") == "True"
        reached = (await client.get(INGRESSES, "window", "default"))["status"]["loadBalancer"].get("ingress")
        return addresses == [door["ip"]] and programmed and reached == [{"ip": window["ip"]}]

    async def are_gone(self) -> bool:
        return self.cluster.left() == {} and await self.cluster.client.find(GATEWAYS, "door", "default") is None


async def test_an_untroubled_story_ends_well() -> None:
    async with world() as cluster:
        assert await play(cluster, Doors()) > 5


@pytest.mark.parametrize("way", WAYS)
async def test_trouble_at_any_call_changes_nothing_of_the_end(way: str) -> None:
    async with world() as cluster:
        await play_with_trouble_everywhere(cluster, Doors(), way)
