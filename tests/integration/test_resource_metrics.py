"""metrics.k8s.io from simulated nodes, and an autoscaler that lives on it."""

from __future__ import annotations

from typing import Any

from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
METRICS = "/apis/metrics.k8s.io/v1beta1"


async def ask(cluster: TestCluster, method: str, path: str, body: Any = None, **how: Any) -> Obj:
    answer = await cluster.admin.request(method, path, body=body, **how)
    assert answer.status < 300, answer.body
    return answer.body


def deployment(replicas: int, load: str) -> Obj:
    container = {"name": "c", "image": "app:v1", "resources": {"requests": {"cpu": "1"}}}
    template = {
        "metadata": {"labels": {"app": "d"}, "annotations": {"pilothouse.dev/cpu-usage": load}},
        "spec": {"containers": [container]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


async def available(cluster: TestCluster) -> int:
    status = (await ask(cluster, "GET", f"{APPS}/deployments/d")).get("status") or {}
    return int(status.get("availableReplicas", 0))


async def test_pods_and_nodes_tell_what_they_use(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment(2, "300m"))

    async def is_up() -> bool:
        return await available(cluster) == 2

    await cluster.clock.run_until(is_up)  # type: ignore[attr-defined]
    told = await ask(cluster, "GET", f"{METRICS}/namespaces/default/pods", query={"labelSelector": "app=d"})
    assert [item["containers"][0]["usage"]["cpu"] for item in told["items"]] == ["300m", "300m"]
    assert told["items"][0]["metadata"]["labels"]["app"] == "d"
    assert (await ask(cluster, "GET", f"{METRICS}/namespaces/default/pods", query={"labelSelector": "app=x"}))["items"] == []
    like_kubectl = "application/vnd.kubernetes.protobuf,application/json"
    again = await ask(cluster, "GET", f"{METRICS}/namespaces/default/pods", accept=like_kubectl)
    assert again["kind"] == "PodMetricsList"
    name = told["items"][0]["metadata"]["name"]
    assert (await ask(cluster, "GET", f"{METRICS}/namespaces/default/pods/{name}"))["kind"] == "PodMetrics"
    nodes = (await ask(cluster, "GET", f"{METRICS}/nodes"))["items"]
    assert sum(int(n["usage"]["cpu"].removesuffix("m")) for n in nodes) == 2 * 50 + 600
    assert (await cluster.admin.request("GET", f"{METRICS}/namespaces/default/pods/none")).status == 404
    assert (await cluster.admin.request("GET", f"{METRICS}/pods", {"labelSelector": "!!"})).status == 400
    groups = (await ask(cluster, "GET", "/apis"))["groups"]
    assert "metrics.k8s.io" in {g["name"] for g in groups}


async def test_an_autoscaler_follows_a_shared_load(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment(1, "shared 3"))
    target = {"type": "Utilization", "averageUtilization": 50}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    await ask(cluster, "POST", path, {"metadata": {"name": "h"}, "spec": spec})

    async def is_right() -> bool:
        return await available(cluster) == 6

    took = await cluster.clock.run_until(is_right, 900)  # type: ignore[attr-defined]
    assert took < 600
    await cluster.clock.advance(400)  # type: ignore[attr-defined]
    assert await is_right()
    h = await ask(cluster, "GET", f"{path}/h")
    assert h["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 50
