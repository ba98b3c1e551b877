"""PodDisruptionBudgets: what they allow, and when they change their mind."""

from __future__ import annotations

import pytest

from pilothouse.api import selectors
from pilothouse.client.reconcile.kinds import POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS
from pilothouse.clock import rfc3339
from pilothouse.controllers import disruption_plan as plans
from pilothouse.controllers.disruption import DisruptionController

from .builders import NOW, pod, replica_set
from .cluster import Cluster, copy


def budget(**spec):
    return {
        "metadata": {"name": "b", "namespace": "ns", "uid": "uid-b", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, **spec},
    }


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"minAvailable": 2}, (3, 2)),
        ({"minAvailable": "50%"}, (5, 3)),
        ({"maxUnavailable": 2}, (5, 3)),
        ({"maxUnavailable": "30%"}, (5, 3)),
        ({"maxUnavailable": 9}, (5, 0)),
    ],
)
def test_a_number_of_available_pods_counts_pods_and_everything_else_counts_what_controllers_want(spec, wanted):
    assert plans.expected(budget(**spec), 3, 5) == plans.Expected(*wanted)


def test_pods_that_are_deleted_evicted_or_not_ready_are_not_healthy():
    gone = pod("d", ready=9, metadata={"deletionTimestamp": rfc3339(NOW)})
    assert plans.healthy([pod("a", ready=9), pod("b"), pod("c", ready=9), gone], {"c": rfc3339(NOW)}) == 1


def test_an_evicted_pod_that_stays_is_counted_again_after_two_minutes():
    b = {
        **budget(minAvailable=1),
        "status": {"disruptedPods": {"a": rfc3339(NOW - 10), "b": rfc3339(NOW - 130), "x": rfc3339(NOW)}},
    }
    found = plans.disrupted(b, [pod("a"), pod("b")], NOW)
    assert list(found.pods) == ["a"]
    assert found.recheck == NOW + 110
    assert [p["metadata"]["name"] for p in found.overdue] == ["b"]


def test_a_selector_is_told_as_the_reference_tells_it():
    rule = {"key": "k", "operator": "In", "values": ["x", "y"]}
    told = selectors.go_text({"matchLabels": {"app": "d"}, "matchExpressions": [rule]})
    assert told == (
        "&LabelSelector{MatchLabels:map[string]string{app: d,},"
        "MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
    )


async def a_set_of(cluster: Cluster, pods: int) -> None:
    made = await cluster.create(REPLICA_SETS, replica_set("r", pods))
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": made["metadata"]["uid"], "controller": True}
    for n in range(pods):
        body = pod(
            f"p{n}", ready=9, metadata={"labels": made["spec"]["template"]["metadata"]["labels"], "ownerReferences": [owner]}
        )
        await cluster.create(PODS, body)


def status(cluster: Cluster):
    return cluster.find(POD_DISRUPTION_BUDGETS, "b")["status"]


async def test_the_status_follows_pods_and_rests():
    async with Cluster() as cluster:
        cluster.start(DisruptionController)
        await a_set_of(cluster, 4)
        await cluster.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable="50%"))
        await cluster.settle()
        assert (status(cluster)["disruptionsAllowed"], status(cluster)["expectedPods"]) == (2, 4)
        await cluster.patch(PODS, "ns", "p0", {"status": {"conditions": None}}, "merge", "status")
        await cluster.settle()
        assert status(cluster)["disruptionsAllowed"] == 1
        before = len(cluster.writes)
        await cluster.settle(1000)
        assert len(cluster.writes) == before


async def test_a_pod_whose_eviction_did_not_happen_is_told_and_counts_again():
    async with Cluster() as cluster:
        cluster.start(DisruptionController)
        await a_set_of(cluster, 2)
        await cluster.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
        await cluster.settle()
        body = copy(cluster.find(POD_DISRUPTION_BUDGETS, "b"))
        body["status"] |= {"disruptedPods": {"p0": rfc3339(cluster.clock.now())}, "disruptionsAllowed": 0}
        await cluster.update(POD_DISRUPTION_BUDGETS, body, "status")
        await cluster.settle(100)
        assert status(cluster)["disruptionsAllowed"] == 0
        await cluster.settle(30)
        assert status(cluster)["disruptionsAllowed"] == 1
        assert "disruptedPods" not in status(cluster)
        assert ("Pod/p0", "NotDeleted", "Pod was expected by PDB ns/b to be deleted but it wasn't") in cluster.events


async def test_pods_whose_controller_is_gone_allow_nothing():
    async with Cluster() as cluster:
        cluster.start(DisruptionController)
        await a_set_of(cluster, 2)
        await cluster.settle()
        await cluster.delete(REPLICA_SETS, "ns", "r")
        await cluster.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
        await cluster.settle()
        assert status(cluster)["disruptionsAllowed"] == 0
        assert status(cluster)["conditions"][0]["reason"] == "SyncFailed"
        assert {e[1] for e in cluster.events} == {"NoControllers", "CalculateExpectedPodCountFailed"}


async def test_a_mark_of_disruption_is_taken_back_when_no_deletion_follows():
    async with Cluster() as cluster:
        cluster.start(DisruptionController)
        told = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        told["lastTransitionTime"] = rfc3339(cluster.clock.now())
        await cluster.create(PODS, pod("p", status={"conditions": [told]}))
        await cluster.settle(100)
        assert cluster.find(PODS, "p")["status"]["conditions"][0]["status"] == "True"
        await cluster.settle(30)
        assert cluster.find(PODS, "p")["status"]["conditions"][0]["status"] == "False"
