from __future__ import annotations

import random

import pytest

from pilothouse.controllers import pods

from .builders import NOW, pod


def first_victim(*candidates, crowds=None):
    return pods.victims(candidates, 1, crowds or {}, NOW)[0]["metadata"]["name"]


@pytest.mark.parametrize(
    ("doomed", "spared"),
    [
        (pod("x", node=""), pod("y", phase="Pending")),
        (pod("x", phase="Pending"), pod("y", phase="Unknown")),
        (pod("x", phase="Unknown"), pod("y")),
        (pod("x"), pod("y", ready=1)),
        (pod("x", ready=9, metadata={"annotations": {pods.DELETION_COST: "-5"}}), pod("y", ready=9)),
        (pod("x", ready=1), pod("y", ready=50)),
        (pod("x", status={"containerStatuses": [{"name": "c", "restartCount": 3}]}), pod("y")),
        (pod("x", age=10), pod("y", age=90)),
    ],
    ids=["unassigned", "pending", "unknown", "unready", "cheap", "young", "restarted", "new"],
)
def test_scaling_down_deletes_the_least_missed_pod_first(doomed, spared):
    assert first_victim(doomed, spared) == "x"
    assert first_victim(spared, doomed) == "x"


def test_an_unready_pod_goes_before_a_cheap_one():
    cheap = pod("cheap", ready=1, metadata={"annotations": {pods.DELETION_COST: "-100"}})
    assert first_victim(cheap, pod("unready", metadata={"annotations": {pods.DELETION_COST: "100"}})) == "unready"


def test_a_crowded_node_loses_a_pod_first():
    crowd = [pod("a", node="n1", ready=9), pod("b", node="n1", ready=9), pod("c", node="n2", ready=9)]
    left = pods.victims(crowd, 1, pods.crowding(crowd), NOW)
    assert left[0]["metadata"]["name"] in "ab"


def test_ages_are_compared_on_a_logarithmic_scale():
    old, older = pod("b", ready=1000), pod("a", ready=1001)
    assert first_victim(old, older) == "a", "of one step of the scale: by uid"


def test_victims_do_not_depend_on_the_order_of_the_pods():
    many = [pod(f"p{i}", ready=random.Random(i).choice([None, 5, 50]), node=f"n{i % 3}") for i in range(20)]
    chosen = {v["metadata"]["name"] for v in pods.victims(many, 7, pods.crowding(many), NOW)}
    shuffled = random.Random(1).sample(many, len(many))
    assert {v["metadata"]["name"] for v in pods.victims(shuffled, 7, pods.crowding(many), NOW)} == chosen


def test_a_pod_becomes_available_after_min_ready_seconds():
    assert pods.available_since(pod("p", ready=10), 30) == NOW + 20
    assert pods.available_since(pod("p", ready=10), 0) == 0
    assert pods.ready_since(pod("p")) == 0
