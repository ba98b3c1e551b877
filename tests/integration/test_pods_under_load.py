"""Pods of a whole cluster that answer: reached at their twins, autoscaled by real requests, sent away in time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from pilothouse.client import loopback
from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(cluster: TestCluster, method: str, path: str, body: Any = None, **how: Any) -> Obj:
    answer = await cluster.admin.request(method, path, body=body, **how)
    assert answer.status < 300, answer.body
    return answer.body


def deployment(name: str, replicas: int, annotations: Obj | None = None, **container: Any) -> Obj:
    main = {"name": "main", "image": "app:v1", "ports": [{"containerPort": 8080}], **container}
    template = {"metadata": {"labels": {"app": name}, "annotations": annotations or {}}, "spec": {"containers": [main]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


async def pods(cluster: TestCluster) -> list[Obj]:
    items: list[Obj] = (await ask(cluster, "GET", f"{CORE}/pods"))["items"]
    return items


def ready(pod: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in (pod.get("status") or {}).get("conditions") or ())


async def until(cluster: TestCluster, holds: Callable[[list[Obj]], bool], seconds: float = 20) -> list[Obj]:
    async with asyncio.timeout(seconds):
        while not holds(found := await pods(cluster)):
            await asyncio.sleep(0.02)
    return found


def url(pod: Obj, port: int = 8080) -> str:
    return f"http://{loopback.twin(pod['status']['podIP'])}:{port}"


async def test_a_pod_that_is_ready_answers_and_one_that_is_gone_does_not(
    serving_cluster: TestCluster, http: aiohttp.ClientSession
) -> None:
    cluster = serving_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment("web", 3))
    found = await until(cluster, lambda ps: sum(map(ready, ps)) == 3)
    for pod in found:
        async with http.get(url(pod)) as answer:
            told = await answer.json()
        assert (told["pod"], told["node"]) == (pod["metadata"]["name"], pod["spec"]["nodeName"])
    first = found[0]
    begun = asyncio.get_running_loop().time()
    await ask(cluster, "DELETE", f"{CORE}/pods/{first['metadata']['name']}")
    async with http.get(url(first)) as answer:  # for a moment it serves on
        assert answer.headers["Connection"] == "close"
    await until(cluster, lambda ps: all(p["metadata"]["uid"] != first["metadata"]["uid"] for p in ps))
    assert asyncio.get_running_loop().time() - begun >= 1
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(url(first))


async def test_a_pod_that_is_asked_all_the_time_serves_on_when_it_is_to_stop(
    serving_cluster: TestCluster, http: aiohttp.ClientSession
) -> None:
    cluster = serving_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment("web", 1))
    (pod,) = await until(cluster, lambda ps: sum(map(ready, ps)) == 1)
    await ask(cluster, "DELETE", f"{APPS}/deployments/web")
    await until(cluster, lambda ps: all("deletionTimestamp" in p["metadata"] for p in ps))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() - begun < 1.6:  # longer than one that nobody asks
        async with http.get(url(pod)) as answer:
            assert answer.status == 200
        await asyncio.sleep(0.1)
    last = loop.time()
    await until(cluster, lambda ps: not ps)
    assert loop.time() - last >= 0.9


async def test_a_pod_of_the_hosts_network_has_its_nodes_address(
    serving_cluster: TestCluster, http: aiohttp.ClientSession
) -> None:
    cluster = serving_cluster
    body = deployment("agent", 1, ports=[{"containerPort": 9100, "hostPort": 9100}])
    body["spec"]["template"]["spec"]["hostNetwork"] = True
    await ask(cluster, "POST", f"{APPS}/deployments", body)
    (pod,) = await until(cluster, lambda ps: sum(map(ready, ps)) == 1)
    assert pod["status"]["podIP"] == pod["status"]["hostIP"]
    async with http.get(url(pod, 9100)) as answer:
        assert (await answer.json())["podIP"] == pod["status"]["hostIP"]


async def test_a_status_set_on_a_running_pod_takes_it_out_of_its_service(
    serving_cluster: TestCluster, http: aiohttp.ClientSession
) -> None:
    cluster = serving_cluster
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    await ask(cluster, "POST", f"{APPS}/deployments", deployment("web", 1, readinessProbe=probe))
    (pod,) = await until(cluster, lambda ps: sum(map(ready, ps)) == 1)
    patch = {"metadata": {"annotations": {"pilothouse.dev/http-status": "/healthz=500"}}}
    await ask(cluster, "PATCH", f"{CORE}/pods/{pod['metadata']['name']}", patch, content_type=MERGE)
    await until(cluster, lambda ps: not any(map(ready, ps)))
    async with http.get(f"{url(pod)}/healthz") as answer:
        assert answer.status == 500

    async def events() -> list[Obj]:
        return [e for e in (await ask(cluster, "GET", f"{CORE}/events"))["items"] if e["reason"] == "Unhealthy"]

    async with asyncio.timeout(10):
        while not (told := await events()):
            await asyncio.sleep(0.02)
    assert told[0]["message"] == "Readiness probe failed: HTTP probe failed with statuscode: 500"
    assert told[0]["source"] == {"component": "kubelet", "host": pod["spec"]["nodeName"]}
    assert told[0]["involvedObject"]["fieldPath"] == "spec.containers{main}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage is measured each second, and autoscalers look as often."""
    monkeypatch.setattr("pilothouse.apiserver.usage.RESOLUTION", 1.0)
    monkeypatch.setattr("pilothouse.controllers.hpa.PERIOD", 1.0)


async def test_an_autoscaler_follows_real_requests(
    impatient: None, serving_cluster: TestCluster, http: aiohttp.ClientSession
) -> None:
    cluster = serving_cluster
    notes = {"pilothouse.dev/cpu-per-request": "10m"}
    await ask(cluster, "POST", f"{APPS}/deployments", deployment("web", 1, notes, resources={"requests": {"cpu": "500m"}}))
    target = {"type": "Utilization", "averageUtilization": 50}
    spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 8,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]}  # fmt: skip
    await ask(cluster, "POST", AUTOSCALERS, {"metadata": {"name": "web"}, "spec": spec})
    found = await until(cluster, lambda ps: sum(map(ready, ps)) == 1)

    async def load() -> None:  # a hundred a second are a core, which is two pods' requests and four at half of them
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for n in itertools.count():
            await asyncio.sleep(max(0.0, begun + n / 100 - loop.time()))
            async with http.get(url(found[n % len(found)])) as answer:
                await answer.read()

    loading = asyncio.create_task(load())
    found[:] = await until(cluster, lambda ps: sum(map(ready, ps)) >= 4, 40)
    loading.cancel()
    await asyncio.wait([loading])
    assert loading.cancelled()
