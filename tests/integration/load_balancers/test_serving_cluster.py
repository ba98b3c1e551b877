"""In a test of a user's: a Deployment, its load balancer and its gateway, asked over HTTP, with nothing but the fixture."""

from __future__ import annotations

from typing import Any

import aiohttp
from town import eventually

from pilothouse.api.errors import StatusError
from pilothouse.client.client import DEPLOYMENTS, SERVICES, Client, Resource
from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes")


def named(name: str, spec: Obj, kind: str = "") -> Obj:
    typed = {"apiVersion": GATEWAYS.api_version, "kind": kind} if kind else {}
    return {**typed, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def pods_at(address: str, host: str = "") -> set[str]:
    """The pods that answer ten requests, each on a connection of its own."""
    names = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for _ in range(10):
            async with session.get(f"http://{address}:8080/", headers={"Host": host} if host else {}) as answer:
                if answer.status == 200:
                    names.add((await answer.json())["pod"])
    return names


async def test_a_deployment_answers_at_its_load_balancer_and_at_its_gateway(serving_cluster: TestCluster) -> None:
    client = Client(serving_cluster.admin, serving_cluster.clock)
    labels = {"app": "web"}
    containers = [{"name": "web", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    await client.create(DEPLOYMENTS, named("web", {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}))
    ports = [{"port": 8080, "targetPort": "http"}]
    await client.create(SERVICES, named("web", {"type": "LoadBalancer", "selector": labels, "ports": ports}))

    async def address() -> str:
        status = (await client.get(SERVICES, "web", "default"))["status"]
        return "".join(i["ip"] for i in status["loadBalancer"].get("ingress") or ())

    async def both_pods() -> bool:
        try:
            return len(await pods_at(await address())) == 2
        except aiohttp.ClientError:
            return False

    await eventually(address)
    await eventually(both_pods)

    async def gateway() -> Obj:
        listeners = [{"name": "http", "protocol": "HTTP", "port": 8080}]
        try:
            spec = {"gatewayClassName": "pilothouse", "listeners": listeners}
            return await client.create(GATEWAYS, named("web", spec, "Gateway"))
        except StatusError as error:
            assert error.code == 404, error.message  # a new cluster learns of the Gateway API a moment after its start
            return {}

    await eventually(gateway)
    rules = [{"backendRefs": [{"name": "web", "port": 8080}]}]
    route = {"parentRefs": [{"name": "web"}], "hostnames": ["web.example"], "rules": rules}
    await client.create(ROUTES, named("web", route, "HTTPRoute"))

    async def by_its_name() -> bool:
        status = (await client.get(GATEWAYS, "web", "default")).get("status") or {}
        found = [a["value"] for a in status.get("addresses") or ()]
        return bool(found) and len(await pods_at(found[0], "web.example")) == 2

    await eventually(by_its_name)
