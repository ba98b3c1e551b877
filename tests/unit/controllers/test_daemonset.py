"""DaemonSets: on which nodes, and how they move to a new template."""

from __future__ import annotations

import pytest

from pilothouse.client.reconcile.kinds import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from pilothouse.controllers import daemonset_nodes as places
from pilothouse.controllers.daemonset import DaemonSetController

from .builders import daemon_set, node
from .cluster import Cluster, copy


def taint(effect: str, key: str = "k"):
    return {"taints": [{"key": key, "value": "v", "effect": effect}]}


@pytest.mark.parametrize(
    ("spec", "on", "start", "stay"),
    [
        ({}, node("n"), True, True),
        ({"nodeName": "other"}, node("n"), False, False),
        ({"nodeSelector": {"pool": "x"}}, node("n", labels={"pool": "x"}), True, True),
        ({"nodeSelector": {"pool": "x"}}, node("n"), False, False),
        ({}, node("n", spec=taint("NoSchedule")), False, True),
        ({}, node("n", spec=taint("NoExecute")), False, False),
        ({}, node("n", spec=taint("PreferNoSchedule")), True, True),
        ({"tolerations": [{"operator": "Exists"}]}, node("n", spec=taint("NoExecute")), True, True),
        ({}, node("n", spec=taint("NoSchedule", "node.kubernetes.io/unschedulable")), True, True),
        ({}, node("n", spec=taint("NoSchedule", "node.kubernetes.io/network-unavailable")), False, True),
        ({"hostNetwork": True}, node("n", spec=taint("NoSchedule", "node.kubernetes.io/network-unavailable")), True, True),
    ],
)
def test_where_a_pod_may_start_and_where_it_may_stay(spec, on, start, stay):
    ds = daemon_set()
    ds["spec"]["template"]["spec"] |= spec
    assert places.placer(ds)(on) == places.Place(start, stay)


async def a_cluster(cluster: Cluster, nodes: int, ds) -> None:
    cluster.start(DaemonSetController)
    for n in range(nodes):
        await cluster.create(NODES, node(f"n{n}"))
    await cluster.create(DAEMON_SETS, ds)
    await rounds(cluster, 3)


async def rounds(cluster: Cluster, count: int, ready: bool = True) -> None:
    for _ in range(count):
        await cluster.settle()
        await cluster.run_pods(ready)
        await cluster.end_pods()
    await cluster.settle()


async def change(cluster: Cluster, image: str) -> None:
    body = copy(cluster.find(DAEMON_SETS, "ds"))
    body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    number = int(body["metadata"]["annotations"][places.GENERATION]) + 1
    body["metadata"]["annotations"][places.GENERATION] = str(number)
    await cluster.update(DAEMON_SETS, body)


def running(cluster: Cluster) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for p in cluster.all(PODS):
        if not p["metadata"].get("deletionTimestamp"):
            out.setdefault(places.target(p), []).append(p["spec"]["containers"][0]["image"])
    return {k: sorted(v) for k, v in out.items()}


async def test_every_node_gets_a_pod_and_then_nothing_is_written():
    async with Cluster() as cluster:
        await a_cluster(cluster, 3, daemon_set())
        assert running(cluster) == {f"n{n}": ["v1"] for n in range(3)}
        assert cluster.find(DAEMON_SETS, "ds")["status"] == {
            "currentNumberScheduled": 3,
            "desiredNumberScheduled": 3,
            "numberMisscheduled": 0,
            "numberReady": 3,
            "observedGeneration": 1,
            "updatedNumberScheduled": 3,
            "numberAvailable": 3,
        }
        before = len(cluster.writes)
        await cluster.settle(1000)
        assert len(cluster.writes) == before


async def test_a_rolling_update_misses_no_more_pods_than_allowed():
    async with Cluster() as cluster:
        await a_cluster(cluster, 4, daemon_set(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}))
        await change(cluster, "v2")
        for _ in range(6):
            await cluster.settle()
            assert sum(len(v) for v in running(cluster).values()) >= 2
            await cluster.end_pods()
            await cluster.run_pods()
        await rounds(cluster, 2)
        assert running(cluster) == {f"n{n}": ["v2"] for n in range(4)}
        assert sorted(r["revision"] for r in cluster.all(CONTROLLER_REVISIONS)) == [1, 2]


async def test_with_surge_the_old_pod_stays_until_the_new_one_is_ready():
    async with Cluster() as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await a_cluster(cluster, 2, daemon_set(strategy=strategy))
        await change(cluster, "v2")
        await rounds(cluster, 3, ready=False)
        assert sorted(running(cluster).values()) == [["v1"], ["v1", "v2"]]
        for p in cluster.all(PODS):
            await cluster.patch(
                PODS,
                "ns",
                p["metadata"]["name"],
                {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
                "merge",
                "status",
            )
        await rounds(cluster, 4)
        assert running(cluster) == {"n0": ["v2"], "n1": ["v2"]}


async def test_on_delete_only_deleted_pods_are_new():
    async with Cluster() as cluster:
        await a_cluster(cluster, 2, daemon_set(strategy={"type": "OnDelete"}))
        await change(cluster, "v2")
        await rounds(cluster, 2)
        assert running(cluster) == {"n0": ["v1"], "n1": ["v1"]}
        victim = next(p for p in cluster.all(PODS) if places.target(p) == "n0")
        await cluster.delete(PODS, "ns", victim["metadata"]["name"], {"gracePeriodSeconds": 0})
        await rounds(cluster, 2)
        assert running(cluster) == {"n0": ["v2"], "n1": ["v1"]}


async def test_going_back_finds_the_old_revision_and_the_history_is_kept_short():
    async with Cluster() as cluster:
        await a_cluster(cluster, 1, daemon_set(revisionHistoryLimit=1))
        for image in ("v2", "v3", "v2"):
            await change(cluster, image)
            await rounds(cluster, 3)
        kept = {
            r["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: r["revision"]
            for r in cluster.all(CONTROLLER_REVISIONS)
        }
        assert kept == {"v2": 4, "v3": 3}


async def test_failed_pods_are_replaced_with_growing_pauses():
    async with Cluster() as cluster:
        await a_cluster(cluster, 1, daemon_set())
        ages = []
        for _ in range(4):
            pod = cluster.all(PODS)[0]
            await cluster.patch(PODS, "ns", pod["metadata"]["name"], {"status": {"phase": "Failed"}}, "merge", "status")

            def is_replaced(before: str = pod["metadata"]["uid"]) -> bool:
                return [p["metadata"]["uid"] for p in cluster.all(PODS)] not in ([], [before])

            ages.append(await cluster.clock.run_until(is_replaced))
            await cluster.run_pods()
        assert ages[0] < 0.1
        assert ages[1] <= ages[2] <= ages[3]
        assert ages[3] > 1


async def test_a_pod_of_a_node_that_no_longer_fits_goes():
    async with Cluster() as cluster:
        ds = daemon_set()
        ds["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "x"}
        cluster.start(DaemonSetController)
        await cluster.create(NODES, node("n0", labels={"pool": "x"}))
        await cluster.create(DAEMON_SETS, ds)
        await rounds(cluster, 2)
        assert running(cluster) == {"n0": ["v1"]}
        await cluster.patch(NODES, "", "n0", {"metadata": {"labels": {"pool": "y"}}}, "merge")
        await rounds(cluster, 2)
        assert running(cluster) == {}


async def test_a_revision_bears_the_notes_that_the_set_had_when_it_was_made():
    async with Cluster() as cluster:
        of = daemon_set()
        of["metadata"].setdefault("annotations", {})["kubernetes.io/change-cause"] = "first"
        await a_cluster(cluster, 1, of)
        [revision] = cluster.all(CONTROLLER_REVISIONS)
        assert revision["metadata"]["annotations"]["kubernetes.io/change-cause"] == "first"
