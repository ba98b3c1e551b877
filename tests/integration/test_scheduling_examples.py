"""The documentation's own examples of assigning pods to nodes, through kubectl."""

from __future__ import annotations

import json
from typing import Any

from test_main_job import kubectl
from test_scheduling_volumes import apply, until

from pilothouse.testing.plugin import TestCluster

PODS = "/api/v1/namespaces/default/pods/"


def pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> str:
    meta = {"name": name, "labels": labels or {}}
    containers = [{"name": "pause", "image": "registry.k8s.io/pause:3.8"}]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers, **spec}})


async def node_of(cluster: TestCluster, name: str) -> str:
    placed = await until(cluster, PODS + name, lambda o: "nodeName" in o["spec"])
    return str(placed["spec"]["nodeName"])


async def waiting(cluster: TestCluster, name: str) -> dict[str, Any]:
    """The PodScheduled condition of a pod that has no node."""
    refused = await until(cluster, PODS + name, lambda o: bool(o["status"].get("conditions")))
    assert "nodeName" not in refused["spec"]
    return next(c for c in refused["status"]["conditions"] if c["type"] == "PodScheduled")


async def test_scheduling_readiness(cluster: TestCluster) -> None:
    """Pod Scheduling Readiness: a gated pod is not looked at until its gates are gone."""
    await apply(cluster, pod("test-pod", schedulingGates=[{"name": "example.com/foo"}, {"name": "example.com/bar"}]))
    assert "SchedulingGated" in await kubectl(cluster, "get", "pod", "test-pod")
    assert (await waiting(cluster, "test-pod"))["reason"] == "SchedulingGated"
    removed = '[{"op": "remove", "path": "/spec/schedulingGates"}]'
    await kubectl(cluster, "patch", "pod", "test-pod", "--type=json", "-p", removed)
    await kubectl(cluster, "wait", "pod/test-pod", "--for=condition=Ready", "--timeout=30s")


async def test_node_affinity(cluster: TestCluster) -> None:
    """Assigning Pods to Nodes: a required zone and a preferred label."""
    await kubectl(cluster, "label", "nodes", "--all", "--overwrite", "topology.kubernetes.io/zone=antarctica-east1")
    await kubectl(cluster, "label", "node", "node-2", "another-node-label-key=another-node-label-value")
    zones = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["antarctica-east1", "antarctica-west1"]}
    liked = {"key": "another-node-label-key", "operator": "In", "values": ["another-node-label-value"]}
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [zones]}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [liked]}}],
    }
    await apply(cluster, pod("with-node-affinity", affinity={"nodeAffinity": affinity}))
    assert await node_of(cluster, "with-node-affinity") == "node-2"
    await apply(cluster, pod("nginx", nodeSelector={"disktype": "ssd"}))
    told = await waiting(cluster, "nginx")
    assert told["message"].startswith("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.")
    await kubectl(cluster, "label", "node", "node-1", "disktype=ssd")
    assert await node_of(cluster, "nginx") == "node-1"


async def test_taints_and_tolerations(cluster: TestCluster) -> None:
    """Taints and Tolerations: key1=value1:NoSchedule keeps out who does not tolerate it."""
    await kubectl(cluster, "taint", "nodes", "node-1", "node-2", "key1=value1:NoSchedule")
    await apply(cluster, pod("nginx"))
    told = await waiting(cluster, "nginx")
    assert told["message"].startswith("0/2 nodes are available: 2 node(s) had untolerated taint(s).")
    tolerated = {"key": "key1", "operator": "Equal", "value": "value1", "effect": "NoSchedule"}
    await apply(cluster, pod("tolerant", tolerations=[tolerated]))
    await node_of(cluster, "tolerant")
    await kubectl(cluster, "taint", "nodes", "node-2", "key1=value1:NoSchedule-")
    assert await node_of(cluster, "nginx") == "node-2"


async def test_spreading_over_zones(cluster: TestCluster) -> None:
    """Pod Topology Spread Constraints: one constraint, four pods, two zones."""
    await kubectl(cluster, "label", "node", "node-1", "zone=zoneA")
    await kubectl(cluster, "label", "node", "node-2", "zone=zoneB")
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                  "labelSelector": {"matchLabels": {"foo": "bar"}}}  # fmt: skip
    for n in range(4):
        await apply(cluster, pod(f"mypod-{n}", {"foo": "bar"}, topologySpreadConstraints=[constraint]))
        await node_of(cluster, f"mypod-{n}")
    placed = [await node_of(cluster, f"mypod-{n}") for n in range(4)]
    assert sorted(placed) == ["node-1", "node-1", "node-2", "node-2"]


async def test_cache_and_web_server_side_by_side(cluster: TestCluster) -> None:
    """Assigning Pods to Nodes: caches apart from each other, each web server beside one cache."""

    def term(app: str) -> dict[str, Any]:
        selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": [app]}]}
        return {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
            ]
        }

    for n in range(2):
        await apply(cluster, pod(f"cache-{n}", {"app": "store"}, affinity={"podAntiAffinity": term("store")}))
        beside = {"podAntiAffinity": term("web-store"), "podAffinity": term("store")}
        await apply(cluster, pod(f"web-{n}", {"app": "web-store"}, affinity=beside))
    caches = [await node_of(cluster, f"cache-{n}") for n in range(2)]
    webs = [await node_of(cluster, f"web-{n}") for n in range(2)]
    assert sorted(caches) == sorted(webs) == ["node-1", "node-2"]
    await apply(cluster, pod("web-2", {"app": "web-store"}, affinity={"podAntiAffinity": term("web-store")}))
    assert "2 node(s) didn't match pod anti-affinity rules" in (await waiting(cluster, "web-2"))["message"]
