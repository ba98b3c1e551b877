"""Controllers against the real hub, with the scheduler and simulated nodes around them, in virtual time."""

from __future__ import annotations

from typing import Any

from pilothouse.clock import rfc3339
from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
MERGE = "application/merge-patch+json"


async def ask(cluster: TestCluster, method: str, path: str, body: Any = None, code: int = 0, **how: Any) -> Obj:
    answer = await cluster.admin.request(method, path, body=body, **how)
    assert answer.status == code or (not code and answer.status < 300), answer.body
    return answer.body


async def exists(cluster: TestCluster, path: str) -> bool:
    return (await cluster.admin.request("GET", path)).status == 200


async def items(cluster: TestCluster, path: str, query: dict[str, str] | None = None) -> list[Obj]:
    return (await ask(cluster, "GET", path, query=query))["items"]


def deployment(replicas: int, image: str = "app:v1") -> Obj:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


async def is_complete(cluster: TestCluster, replicas: int) -> bool:
    d = await ask(cluster, "GET", f"{APPS}/deployments/d")
    status = d.get("status") or {}
    numbers = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration") == d["metadata"]["generation"] and numbers == [replicas] * 3


async def until(cluster: TestCluster, condition: Any, limit: float = 600.0) -> float:
    """Let virtual time pass until it holds; the seconds that took."""
    return await cluster.clock.run_until(condition, limit)  # type: ignore[attr-defined]


async def test_a_rollout_replaces_every_pod(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment(4))
    await until(cluster, lambda: is_complete(cluster, 4))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:v2"}]}}}}
    await ask(cluster, "PATCH", f"{APPS}/deployments/d", patch, content_type=MERGE)
    await until(cluster, lambda: is_complete(cluster, 4))
    pods = [p for p in await items(cluster, f"{CORE}/pods") if "deletionTimestamp" not in p["metadata"]]
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"app:v2"}
    sets = {
        s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: s["spec"]["replicas"]
        for s in await items(cluster, f"{APPS}/replicasets")
    }
    assert sets == {"1": 0, "2": 4}


async def a_node_without_a_kubelet(cluster: TestCluster, name: str) -> None:
    """A node that says that it is ready and then never says anything again."""
    now = rfc3339(cluster.clock.now())
    told = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
    room = {"cpu": "4", "memory": "8Gi", "pods": "50"}
    await ask(
        cluster,
        "POST",
        "/api/v1/nodes",
        {"metadata": {"name": name}, "status": {"capacity": room, "allocatable": room, "conditions": [told]}},
    )
    body = {"status": {"conditions": [told], "capacity": room, "allocatable": room}}
    await ask(cluster, "PATCH", f"/api/v1/nodes/{name}/status", body, content_type=MERGE)


async def a_running_pod(cluster: TestCluster, name: str, node: str, **spec: Any) -> None:
    body = {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec}}
    await ask(cluster, "POST", f"{CORE}/pods", body)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(cluster.clock.now())}
    await ask(
        cluster,
        "PATCH",
        f"{CORE}/pods/{name}/status",
        {"status": {"phase": "Running", "conditions": [ready]}},
        content_type=MERGE,
    )


def condition(obj: Obj, kind: str) -> Obj:
    return next((c for c in obj["status"].get("conditions", ()) if c["type"] == kind), {})


async def test_a_node_that_falls_silent_loses_its_pods_after_their_patience(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    await a_node_without_a_kubelet(cluster, "mute")
    await a_running_pod(cluster, "p", "mute")

    async def node_is_unknown() -> bool:
        return condition(await ask(cluster, "GET", "/api/v1/nodes/mute"), "Ready")["status"] == "Unknown"

    async def pod_is_going() -> bool:
        return "deletionTimestamp" in (await ask(cluster, "GET", f"{CORE}/pods/p"))["metadata"]

    silent = await until(cluster, node_is_unknown)
    assert 50 <= silent <= 62
    await cluster.clock.advance(15)  # type: ignore[attr-defined]
    taints = {(t["key"], t["effect"]) for t in (await ask(cluster, "GET", "/api/v1/nodes/mute"))["spec"]["taints"]}
    assert taints == {("node.kubernetes.io/unreachable", "NoSchedule"), ("node.kubernetes.io/unreachable", "NoExecute")}
    assert condition(await ask(cluster, "GET", f"{CORE}/pods/p"), "Ready")["status"] == "False"
    patience = await until(cluster, pod_is_going)
    assert 270 <= patience <= 310
    told = condition(await ask(cluster, "GET", f"{CORE}/pods/p"), "DisruptionTarget")
    assert told["reason"] == "DeletionByTaintManager"


async def test_a_pod_stays_on_a_tainted_node_for_as_long_as_it_tolerates(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    node = (await items(cluster, "/api/v1/nodes"))[0]["metadata"]["name"]
    tolerations = [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]
    pod = {
        "metadata": {"name": "p"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "tolerations": tolerations},
    }
    await ask(cluster, "POST", f"{CORE}/pods", pod)
    await ask(
        cluster, "PATCH", f"/api/v1/nodes/{node}", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}, content_type=MERGE
    )

    async def going() -> bool:
        answer = await cluster.admin.request("GET", f"{CORE}/pods/p")
        return answer.status == 404 or "deletionTimestamp" in answer.body["metadata"]

    assert 295 <= await until(cluster, going) <= 305


async def test_a_namespace_goes_with_everything_in_it(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    await ask(cluster, "POST", "/api/v1/namespaces", {"metadata": {"name": "x"}})
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await ask(cluster, "POST", "/api/v1/namespaces/x/configmaps", held)
    await until(cluster, lambda: exists(cluster, "/api/v1/namespaces/x/serviceaccounts/default"))
    await ask(cluster, "POST", "/apis/apps/v1/namespaces/x/deployments", deployment(2))
    await cluster.clock.advance(5)  # type: ignore[attr-defined]
    await ask(cluster, "DELETE", "/api/v1/namespaces/x")

    async def waits() -> bool:
        found = condition(await ask(cluster, "GET", "/api/v1/namespaces/x"), "NamespaceContentRemaining")
        return found.get("message") == "Some resources are remaining: configmaps. has 1 resource instances"

    await until(cluster, waits)
    await ask(cluster, "PATCH", "/api/v1/namespaces/x/configmaps/held", {"metadata": {"finalizers": None}}, content_type=MERGE)

    async def gone() -> bool:
        return not await exists(cluster, "/api/v1/namespaces/x")

    await until(cluster, gone)


async def test_deletion_reaches_dependants_as_the_policy_says(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment(2))
    await until(cluster, lambda: is_complete(cluster, 2))
    await ask(cluster, "DELETE", f"{APPS}/deployments/d", {"propagationPolicy": "Orphan"})
    await cluster.clock.advance(10)  # type: ignore[attr-defined]
    (orphan,) = await items(cluster, f"{APPS}/replicasets")
    assert "ownerReferences" not in orphan["metadata"]
    assert len(await items(cluster, f"{CORE}/pods")) == 2
    await ask(cluster, "DELETE", f"{APPS}/replicasets/{orphan['metadata']['name']}", {"propagationPolicy": "Foreground"})
    await cluster.clock.advance(60)  # type: ignore[attr-defined]
    assert await items(cluster, f"{APPS}/replicasets") == []
    assert await items(cluster, f"{CORE}/pods") == []


async def test_endpoints_follow_the_pods_of_a_service(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    service = {"metadata": {"name": "s"}, "spec": {"selector": {"app": "d"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    await ask(cluster, "POST", f"{CORE}/services", service)
    await ask(cluster, "POST", f"{APPS}/deployments", deployment(3))
    await until(cluster, lambda: is_complete(cluster, 3))
    await cluster.clock.advance(5)  # type: ignore[attr-defined]
    (found,) = await items(
        cluster, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {"labelSelector": "kubernetes.io/service-name=s"}
    )
    addresses = {p["status"]["podIP"] for p in await items(cluster, f"{CORE}/pods")}
    assert {e["addresses"][0] for e in found["endpoints"] if e["conditions"]["ready"]} == addresses
    (subset,) = (await ask(cluster, "GET", f"{CORE}/endpoints/s"))["subsets"]
    assert {a["ip"] for a in subset["addresses"]} == addresses


async def test_a_cluster_at_rest_is_at_rest(virtual_cluster: TestCluster) -> None:
    """Beside the nodes' heartbeats nothing is written when nothing happens."""
    cluster = virtual_cluster
    await ask(cluster, "POST", f"{APPS}/deployments", deployment(3))
    await until(cluster, lambda: is_complete(cluster, 3))
    await cluster.clock.advance(120)  # type: ignore[attr-defined]
    before = {await_key: o["metadata"]["resourceVersion"] for await_key, o in await everything(cluster)}
    await cluster.clock.advance(600)  # type: ignore[attr-defined]
    after = {await_key: o["metadata"]["resourceVersion"] for await_key, o in await everything(cluster)}
    assert after == before


async def everything(cluster: TestCluster) -> list[tuple[str, Obj]]:
    paths = [f"{CORE}/{r}" for r in ("pods", "serviceaccounts", "configmaps", "endpoints", "events")]
    paths += [
        f"{APPS}/deployments",
        f"{APPS}/replicasets",
        "/api/v1/namespaces",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    ]
    return [(f"{p}/{o['metadata']['name']}", o) for p in paths for o in await items(cluster, p)]
