"""StatefulSets: order, identity, updates and claims."""

from __future__ import annotations

import pytest

from pilothouse.client.reconcile.kinds import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from pilothouse.controllers import statefulset_identity as identity
from pilothouse.controllers import statefulset_plan as plans
from pilothouse.controllers.statefulset import StatefulSetController

from .builders import NOW, pod, stateful_set
from .cluster import Cluster, copy


def member(number: int, *, revision: str = "new", ready: float | None = 9, **more):
    labels = {"app": "a", identity.REVISION_LABEL: revision}
    return pod(f"web-{number}", ready=ready, metadata={"labels": labels, **more})


def state(owner, pods, current: str = "new") -> plans.State:
    return plans.State(owner, current, "new", {identity.ordinal(p, owner): p for p in pods}, NOW)


def names(pods) -> list[str]:
    return [p["metadata"]["name"] for p in pods]


DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.mark.parametrize(
    ("spec", "pods", "create", "delete"),
    [
        ({}, [], [0], []),
        ({}, [member(0)], [1], []),
        ({}, [member(0, ready=None)], [], []),
        ({}, [member(0, **DELETED)], [], []),
        ({}, [member(0), member(2)], [1], []),
        (PARALLEL, [member(1, ready=None)], [0, 2], []),
        ({}, [member(n) for n in range(5)], [], ["web-4"]),
        ({}, [member(n) for n in range(4)] + [member(4, ready=None)], [], ["web-4"]),
        ({}, [member(n) for n in range(3)] + [member(3, ready=None), member(4, ready=None)], [], []),
        (PARALLEL, [member(n) for n in range(5)], [], ["web-4", "web-3"]),
        ({"ordinals": {"start": 5}}, [], [5], []),
        ({}, [member(0), member(1, revision="old"), member(2)], [], ["web-1"]),
        ({}, [member(0), member(1, revision="old"), member(2, ready=None)], [], []),
        ({}, [member(n, revision="old") for n in range(3)], [], ["web-2"]),
        (PARALLEL, [member(n, revision="old") for n in range(3)], [], ["web-2"]),
    ],
)
def test_what_is_done_next(spec, pods, create, delete):
    plan = plans.plan(state(stateful_set(3, **spec), pods))
    assert (plan.create, names(plan.delete)) == (create, delete)


@pytest.mark.parametrize(
    ("rolling", "delete"),
    [
        ({"partition": 2}, ["web-3"]),
        ({"partition": 4}, []),
        ({"partition": 0, "maxUnavailable": 2}, ["web-3", "web-2"]),
        ({"partition": 0, "maxUnavailable": "50%"}, ["web-3", "web-2"]),
        ({"partition": 3, "maxUnavailable": 2}, ["web-3"]),
    ],
)
def test_an_update_goes_down_to_the_partition_as_fast_as_allowed(rolling, delete):
    owner = stateful_set(4, updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    assert names(plans.plan(state(owner, [member(n, revision="old") for n in range(4)], "old")).delete) == delete


def test_new_pods_below_the_partition_are_of_the_current_revision():
    owner = stateful_set(4, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, ordinals={"start": 3})
    here = state(owner, [], "old")
    assert [plans.revision_for(here, n) for n in range(3, 7)] == ["old", "old", "new", "new"]


def test_on_delete_nothing_is_deleted_and_what_is_made_is_new():
    here = state(stateful_set(2, updateStrategy={"type": "OnDelete"}), [member(0, revision="old")], "old")
    assert (plans.plan(here).create, plans.plan(here).delete, plans.revision_for(here, 1)) == ([1], [], "new")


@pytest.mark.parametrize(
    ("policy", "condemned", "owner"),
    [
        ({"whenScaled": "Retain", "whenDeleted": "Retain"}, True, None),
        ({"whenScaled": "Retain", "whenDeleted": "Delete"}, True, "StatefulSet"),
        ({"whenScaled": "Delete", "whenDeleted": "Retain"}, True, "Pod"),
        ({"whenScaled": "Delete", "whenDeleted": "Retain"}, False, None),
        ({"whenScaled": "Delete", "whenDeleted": "Delete"}, True, "Pod"),
        ({"whenScaled": "Delete", "whenDeleted": "Delete"}, False, "StatefulSet"),
    ],
)
def test_a_claim_goes_with_its_pod_its_set_or_not_at_all(policy, condemned, owner):
    sts = stateful_set(1, persistentVolumeClaimRetentionPolicy=policy)
    before = [{"kind": "Pod", "name": "web-7", "uid": "former"}]
    refs = identity.owners_of_claim(sts, member(7), condemned, before)
    assert [r["kind"] for r in refs] == ([owner] if owner else [])
    assert identity.owners_of_claim(sts, member(7), condemned, refs) is None


def test_a_claim_that_another_controls_is_left_alone():
    sts = stateful_set(1, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"})
    other = [{"kind": "Backup", "name": "b", "uid": "x", "controller": True}]
    assert identity.owners_of_claim(sts, member(0), False, other) is None


async def rounds(cluster: Cluster, count: int) -> None:
    for _ in range(count):
        await cluster.settle()
        await cluster.run_pods()
        await cluster.end_pods()
    await cluster.settle()


async def change(cluster: Cluster, **spec) -> None:
    body = copy(cluster.find(STATEFUL_SETS, "web"))
    if image := spec.pop("image", ""):
        body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    body["spec"] |= spec
    await cluster.update(STATEFUL_SETS, body)


def images(cluster: Cluster) -> dict[str, str]:
    return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in cluster.all(PODS)}


DATA = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}


async def test_pods_come_in_order_with_their_claims_and_then_nothing_is_written():
    async with Cluster() as cluster:
        cluster.start(StatefulSetController)
        await cluster.create(STATEFUL_SETS, stateful_set(3, volumeClaimTemplates=[DATA]))
        await cluster.settle()
        assert list(images(cluster)) == ["web-0"]
        await rounds(cluster, 4)
        assert list(images(cluster)) == ["web-0", "web-1", "web-2"]
        assert [c["metadata"]["name"] for c in cluster.all(PERSISTENT_VOLUME_CLAIMS)] == [f"data-web-{n}" for n in range(3)]
        made = cluster.find(PODS, "web-1")
        assert made["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
        assert made["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}]
        assert (made["spec"]["hostname"], made["spec"]["subdomain"]) == ("web-1", "web")
        before = len(cluster.writes)
        await cluster.settle(1000)
        assert len(cluster.writes) == before


async def test_an_update_ends_with_one_current_revision_and_undo_finds_the_old_one():
    async with Cluster() as cluster:
        cluster.start(StatefulSetController)
        await cluster.create(STATEFUL_SETS, stateful_set(2))
        await rounds(cluster, 3)
        await change(cluster, image="v2")
        await rounds(cluster, 5)
        assert set(images(cluster).values()) == {"v2"}
        status = cluster.find(STATEFUL_SETS, "web")["status"]
        assert status["currentRevision"] == status["updateRevision"]
        assert (status["currentReplicas"], status["updatedReplicas"], status["availableReplicas"]) == (2, 2, 2)
        await change(cluster, image="v1")
        await rounds(cluster, 5)
        assert sorted(r["revision"] for r in cluster.all(CONTROLLER_REVISIONS)) == [2, 3]


async def test_min_ready_seconds_hold_up_the_next_pod():
    async with Cluster() as cluster:
        cluster.start(StatefulSetController)
        await cluster.create(STATEFUL_SETS, stateful_set(2, minReadySeconds=30))
        await cluster.settle()
        await cluster.run_pods()
        await cluster.settle(25)
        assert list(images(cluster)) == ["web-0"]
        await cluster.settle(10)
        assert list(images(cluster)) == ["web-0", "web-1"]


async def test_an_adopted_pod_gets_its_identity_and_strangers_are_left_alone():
    async with Cluster() as cluster:
        cluster.start(StatefulSetController)
        for name in ("web-0", "webby"):
            await cluster.create(PODS, pod(name, ready=9))
        await cluster.create(STATEFUL_SETS, stateful_set(1, updateStrategy={"type": "OnDelete"}))
        await rounds(cluster, 2)
        assert cluster.find(PODS, "web-0")["metadata"]["labels"][identity.NAME_LABEL] == "web-0"
        assert "ownerReferences" not in cluster.find(PODS, "webby")["metadata"]


async def test_a_set_that_is_being_deleted_makes_nothing_new():
    async with Cluster() as cluster:
        cluster.start(StatefulSetController)
        await cluster.create(STATEFUL_SETS, stateful_set(1))
        await rounds(cluster, 2)
        await cluster.delete(STATEFUL_SETS, "ns", "web", {"propagationPolicy": "Orphan"})
        for each in (*cluster.all(CONTROLLER_REVISIONS), *cluster.all(PODS)):
            kind = CONTROLLER_REVISIONS if "revision" in each else PODS
            await cluster.patch(kind, "ns", each["metadata"]["name"], {"metadata": {"ownerReferences": []}}, "merge")
        await cluster.settle(60)
        assert len(cluster.all(CONTROLLER_REVISIONS)) == 1
        assert "ownerReferences" not in {k for k, v in cluster.find(PODS, "web-0")["metadata"].items() if v}


async def test_a_revision_that_a_former_set_has_yet_to_let_go_is_taken_as_it_is():
    """A set made again while the garbage collector still orphans what the former one left: no collision, no second revision."""
    async with Cluster() as cluster:
        cluster.start(StatefulSetController)
        await cluster.create(STATEFUL_SETS, stateful_set(1))
        await cluster.settle()
        (left,) = cluster.all(CONTROLLER_REVISIONS)
        former = copy(left["metadata"]["ownerReferences"])
        former[0]["uid"] = "former"
        await cluster.update(
            CONTROLLER_REVISIONS, {**copy(left), "metadata": {**copy(left["metadata"]), "ownerReferences": former}}
        )
        await cluster.patch(STATEFUL_SETS, "ns", "web", {"metadata": {"labels": {"touched": "yes"}}}, "merge")
        await cluster.settle()
        assert len(cluster.all(CONTROLLER_REVISIONS)) == 1
        assert not cluster.find(STATEFUL_SETS, "web")["status"].get("collisionCount")
