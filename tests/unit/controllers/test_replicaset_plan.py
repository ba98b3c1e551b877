from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.client.reconcile.kinds import REPLICA_SETS
from pilothouse.controllers import pod_control
from pilothouse.controllers import replicaset_plan as rs

from .builders import NOW, pod, replica_set


@pytest.mark.parametrize(("wanted", "present", "create", "delete"), [(3, 0, 3, 0), (3, 3, 0, 0), (1, 4, 0, 3), (900, 0, 500, 0)])
def test_the_difference_is_made_up(wanted, present, create, delete):
    active = [pod(f"p{i}", ready=5) for i in range(present)]
    plan = rs.plan(replica_set("r", wanted), active, active, NOW)
    assert (plan.create, len(plan.delete)) == (create, delete)


def test_a_set_that_is_being_deleted_makes_no_pods():
    owner = replica_set("r", 3)
    owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert rs.plan(owner, [], [], NOW) == rs.Plan()


def test_counts_tell_ready_from_available_and_when_that_changes():
    owner = replica_set("r", 3)
    owner["spec"]["minReadySeconds"] = 30
    owner["spec"]["template"]["metadata"]["labels"] = {"app": "a", "x": "y"}
    active = [pod("a", ready=40), pod("b", ready=10), pod("c", metadata={"labels": {"app": "a", "x": "y"}})]
    counts = rs.count(owner, active, terminating=2, now=NOW)
    assert counts == rs.Counts(3, 1, 2, 1, 2, next_available=NOW + 20)


def test_status_leaves_out_zeros_but_not_replicas():
    status = rs.status(replica_set("r", 0), rs.Counts(0, 0, 0, 0, 0), None, NOW)
    assert status == {"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1}


def test_a_refusal_is_told_until_a_look_meets_none():
    owner = replica_set("r", 1)
    refused = rs.status(owner, rs.Counts(0, 0, 0, 0, 0), rs.Failure("FailedCreate", "no"), NOW)
    assert refused["conditions"][0] == {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "FailedCreate",
        "message": "no",
    }
    owner["status"] = refused
    assert rs.status(owner, rs.Counts(0, 0, 0, 0, 0), rs.Failure("FailedCreate", "other"), NOW + 9) == refused
    assert "conditions" not in rs.status(owner, rs.Counts(1, 1, 1, 1, 0), None, NOW)


@given(st.integers(0, 5000))
def test_slow_start_doubles_and_adds_up(count):
    sizes = pod_control.batches(count)
    assert sum(sizes) == count
    assert all(b <= 2 * a for a, b in itertools.pairwise(sizes))


def test_a_pod_is_made_from_the_template():
    owner = replica_set("r", 1)
    made = pod_control.pod_of(owner, REPLICA_SETS, owner["spec"]["template"])
    assert made["metadata"]["generateName"] == "r-"
    assert made["metadata"]["labels"] == {"app": "a", "pod-template-hash": "r"}
    assert made["spec"] == owner["spec"]["template"]["spec"]
