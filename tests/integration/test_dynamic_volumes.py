"""Dynamic volumes on simulated nodes: scheduler, volume controllers and the local provisioner together, in virtual time."""

from __future__ import annotations

from typing import Any

from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
MERGE = "application/merge-patch+json"


async def ask(cluster: TestCluster, method: str, path: str, body: Any = None, **how: Any) -> Any:
    answer = await cluster.admin.request(method, path, body=body, **how)
    assert answer.status < 300, answer.body
    return answer.body


async def until(cluster: TestCluster, condition: Any) -> None:
    await cluster.clock.run_until(condition, 600.0)  # type: ignore[attr-defined]


async def test_a_stateful_sets_claims_get_volumes_where_their_pods_run(virtual_cluster: TestCluster) -> None:
    cluster = virtual_cluster
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    spec = {
        "serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": wanted}],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
    }  # fmt: skip
    await ask(cluster, "POST", f"{APPS}/statefulsets", {"metadata": {"name": "db"}, "spec": spec})

    async def ready() -> bool:
        found = await ask(cluster, "GET", f"{APPS}/statefulsets/db")
        return (found.get("status") or {}).get("readyReplicas") == 2

    await until(cluster, ready)
    pods = {p["metadata"]["name"]: p for p in (await ask(cluster, "GET", f"{CORE}/pods"))["items"]}
    for claim in (await ask(cluster, "GET", f"{CORE}/persistentvolumeclaims"))["items"]:
        assert claim["status"]["phase"] == "Bound" and claim["spec"]["storageClassName"] == "standard"
        volume = await ask(cluster, "GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        here = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
        assert here == [pods[claim["metadata"]["name"][2:]]["spec"]["nodeName"]]

    patch = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await ask(cluster, "PATCH", f"{CORE}/persistentvolumeclaims/d-db-0", patch, content_type=MERGE)

    async def grown() -> bool:
        found = await ask(cluster, "GET", f"{CORE}/persistentvolumeclaims/d-db-0")
        return bool(found["status"]["capacity"] == {"storage": "3Gi"})

    await until(cluster, grown)
    await ask(cluster, "DELETE", f"{APPS}/statefulsets/db")

    async def gone() -> bool:
        return not (await ask(cluster, "GET", "/api/v1/persistentvolumes"))["items"]

    await until(cluster, gone)
