"""`pilothouse explain service/NAME` against a cluster whose load balancers carry traffic."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from town import eventually

from pilothouse.client.client import PODS, SERVICES, Client
from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]


async def explained(cluster: TestCluster, what: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "pilothouse", "explain", what, "--kubeconfig", str(cluster.kubeconfig)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    told, _ = await process.communicate()
    assert process.returncode == code, told.decode()
    return told.decode()


async def test_a_service_is_explained_from_its_pods_to_its_load_balancer(serving_cluster: TestCluster) -> None:
    client = Client(serving_cluster.admin, serving_cluster.clock)
    assert await explained(serving_cluster, "service/web", code=2) == 'pilothouse: services "web" not found\n'
    ports = [{"name": "http", "port": 8080}]
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports}
    await client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})

    async def has_address() -> bool:
        return bool((await client.get(SERVICES, "web", "default"))["status"]["loadBalancer"])

    await eventually(has_address)
    told = await explained(serving_cluster, "service/web")
    assert "! no pod has the labels app=web" in told
    assert "! port 8080/TCP has no endpoint that takes traffic: there are none" in told

    containers = [{"name": "web", "image": "web", "ports": [{"containerPort": 8080}]}]
    meta = {"name": "web", "namespace": "default", "labels": {"app": "web"}}
    await client.create(PODS, {"metadata": meta, "spec": {"containers": containers}})

    async def well() -> str:
        told = await explained(serving_cluster, "svc/web")
        return told if "Nothing is wrong" in told else ""

    told = await eventually(well, 30)
    assert told.startswith("Service default/web (LoadBalancer)\n    1 pod has the labels app=web, 1 ready\n")
    assert ":8080 accepts connections\n" in told
