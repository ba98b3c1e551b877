from __future__ import annotations

import pytest

from pilothouse.client.reconcile.kinds import LEASES, NODES, PODS
from pilothouse.clock import rfc3339, rfc3339_micro
from pilothouse.controllers import node_health, taints
from pilothouse.controllers.node_health import Timing, ZoneState
from pilothouse.controllers.node_lifecycle import NodeLifecycleController
from pilothouse.controllers.pod_gc import PodGarbageCollector, over_threshold
from pilothouse.controllers.taint_eviction import TaintEvictionController
from pilothouse.controllers.ttl import TTL, TTLController, class_for

from .builders import node, pod
from .cluster import Cluster, copy

NO_EXECUTE = "NoExecute"


async def register(cluster: Cluster, name: str, ready: str = "True", **more) -> None:
    body = node(name, ready, **more)
    made = await cluster.create(NODES, body)
    await cluster.update(NODES, {**made, "status": body["status"]}, "status")
    lease = {
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"renewTime": rfc3339_micro(cluster.clock.now())},
    }
    await cluster.create(LEASES, lease)


async def renew(cluster: Cluster, *names: str) -> None:
    for name in names:
        lease = copy(cluster.find(LEASES, name, "kube-node-lease"))
        lease["spec"]["renewTime"] = rfc3339_micro(cluster.clock.now())
        await cluster.update(LEASES, lease)


async def live(cluster: Cluster, seconds: float, *names: str) -> None:
    """Let time pass with these nodes alive."""
    for _ in range(int(seconds / 10)):
        await renew(cluster, *names)
        await cluster.settle(10)


async def bound(cluster: Cluster, name: str, node_name: str, **spec) -> None:
    body = pod(name, node=node_name, ready=5, spec=spec)
    made = await cluster.create(PODS, body)
    await cluster.update(PODS, {**made, "status": body["status"]}, "status")


def keys(cluster: Cluster, name: str, effect: str) -> set[str]:
    return {t["key"] for t in taints.with_effect(cluster.find(NODES, name), effect)}


def ready(obj) -> str:
    return next(c["status"] for c in obj["status"]["conditions"] if c["type"] == "Ready")


def tolerating(seconds: int | None = None) -> dict:
    return {"key": "k", "operator": "Exists", "effect": NO_EXECUTE, **({} if seconds is None else {"tolerationSeconds": seconds})}


async def test_a_silent_node_becomes_unknown_and_its_pods_unready():
    async with Cluster() as cluster:
        cluster.start(NodeLifecycleController)
        await register(cluster, "n1")
        await register(cluster, "n2")
        await bound(cluster, "p", "n1")
        await live(cluster, 40, "n1", "n2")
        assert ready(cluster.find(NODES, "n1")) == "True"
        await live(cluster, 80, "n2")
        dead = cluster.find(NODES, "n1")
        assert ready(dead) == "Unknown"
        assert {c["reason"] for c in dead["status"]["conditions"]} == {"NodeStatusUnknown", "NodeStatusNeverUpdated"}
        assert keys(cluster, "n1", "NoSchedule") == {taints.UNREACHABLE}
        assert keys(cluster, "n1", NO_EXECUTE) == {taints.UNREACHABLE}
        assert ready(cluster.find(PODS, "p")) == "False"
        assert ready(cluster.find(NODES, "n2")) == "True"
        assert ("Node/n1", "NodeNotReady", "Node n1 status is now: NodeNotReady") in cluster.events


async def test_taints_go_when_the_node_is_back():
    async with Cluster() as cluster:
        cluster.start(NodeLifecycleController)
        await register(cluster, "n1", "False")
        await register(cluster, "n2")
        await live(cluster, 20, "n1", "n2")
        assert keys(cluster, "n1", NO_EXECUTE) == keys(cluster, "n1", "NoSchedule") == {taints.NOT_READY}
        body = copy(cluster.find(NODES, "n1"))
        body["status"]["conditions"][0]["status"] = "True"
        await cluster.update(NODES, body, "status")
        await live(cluster, 20, "n1", "n2")
        assert cluster.find(NODES, "n1")["spec"].get("taints", []) == []


async def test_when_all_nodes_are_silent_no_pod_is_put_at_risk():
    async with Cluster() as cluster:
        cluster.start(NodeLifecycleController)
        await register(cluster, "n1")
        await register(cluster, "n2")
        await cluster.settle(300)
        assert ready(cluster.find(NODES, "n1")) == "Unknown"
        assert keys(cluster, "n1", NO_EXECUTE) == set()


async def test_nodes_of_a_zone_are_tainted_one_by_one():
    async with Cluster() as cluster:
        cluster.start(NodeLifecycleController)
        for i in range(6):
            await register(cluster, f"n{i}")
        alive = [f"n{i}" for i in range(2, 6)]
        await live(cluster, 70, *alive)
        tainted = [i for i in range(6) if keys(cluster, f"n{i}", NO_EXECUTE)]
        assert len(tainted) == 1
        await live(cluster, 10, *alive)
        assert [i for i in range(6) if keys(cluster, f"n{i}", NO_EXECUTE)] == [0, 1]


@pytest.mark.parametrize(
    ("nodes", "state"),
    [
        ("", ZoneState.NORMAL),
        ("ddd", ZoneState.FULL),
        ("dddaa", ZoneState.PARTIAL),
        ("dda", ZoneState.NORMAL),
        ("dddaaa", ZoneState.NORMAL),
    ],
)
def test_how_bad_it_is_in_a_zone(nodes, state):
    assert node_health.zone_state([n == "a" for n in nodes], Timing()) is state


@pytest.mark.parametrize(
    ("tolerations", "patience"),
    [([], 0), ([tolerating()], None), ([tolerating(300)], 300), ([tolerating(300), tolerating(60)], 60), ([tolerating(-5)], 0)],
)
def test_patience_is_that_of_the_least_patient_toleration(tolerations, patience):
    assert taints.patience(tolerations, [{"key": "k", "effect": NO_EXECUTE}]) == patience


async def taint(cluster: Cluster, name: str, *keys: str) -> None:
    body = copy(cluster.find(NODES, name))
    body["spec"]["taints"] = [{"key": k, "effect": NO_EXECUTE, "timeAdded": rfc3339(cluster.clock.now())} for k in keys]
    await cluster.update(NODES, body)


async def test_pods_leave_a_tainted_node_when_their_patience_ends():
    async with Cluster() as cluster:
        cluster.start(TaintEvictionController)
        await register(cluster, "n1")
        await bound(cluster, "hasty", "n1")
        await bound(cluster, "patient", "n1", tolerations=[tolerating(300)])
        await bound(cluster, "stoic", "n1", tolerations=[tolerating()])
        await taint(cluster, "n1", "k")
        await cluster.settle(290)
        going = {p["metadata"]["name"] for p in cluster.all(PODS) if p["metadata"].get("deletionTimestamp")}
        assert going == {"hasty"}
        (told,) = [c for c in cluster.find(PODS, "hasty")["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert (told["reason"], told["message"]) == ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        assert ("Pod/hasty", "TaintManagerEviction", "Marking for deletion Pod ns/hasty") in cluster.events
        await cluster.settle(20)
        assert cluster.find(PODS, "patient")["metadata"].get("deletionTimestamp")
        assert not cluster.find(PODS, "stoic")["metadata"].get("deletionTimestamp")


async def test_a_taint_that_goes_in_time_costs_nothing():
    async with Cluster() as cluster:
        cluster.start(TaintEvictionController)
        await register(cluster, "n1")
        await bound(cluster, "p", "n1", tolerations=[tolerating(300)])
        await taint(cluster, "n1", "k")
        await cluster.settle(200)
        await taint(cluster, "n1")
        await cluster.settle(500)
        assert not cluster.find(PODS, "p")["metadata"].get("deletionTimestamp")
        assert ("Pod/p", "TaintManagerEviction", "Cancelling deletion of Pod ns/p") in cluster.events


async def test_patience_goes_on_when_the_controller_was_away():
    async with Cluster() as cluster:
        await register(cluster, "n1")
        await bound(cluster, "p", "n1", tolerations=[tolerating(300)])
        await taint(cluster, "n1", "k")
        await cluster.settle(200)
        cluster.start(TaintEvictionController)
        await cluster.settle(110)
        assert cluster.find(PODS, "p")["metadata"].get("deletionTimestamp")


async def test_pods_that_nobody_will_remove_are_removed():
    async with Cluster() as cluster:
        cluster.start(PodGarbageCollector)
        await register(cluster, "n1", "False", spec={"taints": [{"key": taints.OUT_OF_SERVICE, "effect": "NoExecute"}]})
        await bound(cluster, "orphaned", "gone")
        await bound(cluster, "stuck", "n1")
        await bound(cluster, "fine", "n1")
        await cluster.delete(PODS, "ns", "stuck")
        body = pod("unbound", node="", phase="Pending", metadata={"finalizers": ["example.com/hold"]})
        await cluster.create(PODS, body)
        await cluster.delete(PODS, "ns", "unbound")
        await cluster.settle(30)
        assert {p["metadata"]["name"] for p in cluster.all(PODS)} == {"orphaned", "fine", "unbound"}
        assert cluster.find(PODS, "unbound")["status"]["phase"] == "Failed"
        await cluster.settle(50)
        assert {p["metadata"]["name"] for p in cluster.all(PODS)} == {"fine", "unbound"}


def test_the_oldest_finished_pods_go_first():
    finished = [pod(f"p{i}", phase="Failed", age=i) for i in range(5)]
    evicted = pod("e", phase="Failed", age=0, status={"reason": "Evicted"})
    assert [p["metadata"]["name"] for p in over_threshold([*finished, evicted, pod("r")], 4)] == ["e", "p4"]
    assert over_threshold(finished, 0) == []


async def test_nodes_are_told_how_long_to_believe_their_caches():
    async with Cluster() as cluster:
        cluster.start(TTLController)
        await register(cluster, "n1")
        await cluster.settle()
        assert cluster.find(NODES, "n1")["metadata"]["annotations"][TTL] == "0"


@pytest.mark.parametrize(
    ("nodes", "current", "then"), [(100, 0, 0), (101, 0, 1), (95, 1, 1), (89, 1, 0), (5000, 0, 4), (0, 4, 0)]
)
def test_a_cluster_at_a_border_does_not_waver(nodes, current, then):
    assert class_for(nodes, current) == then
