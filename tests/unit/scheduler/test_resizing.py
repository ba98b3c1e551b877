"""Room that pods take up while they are resized in place."""

from __future__ import annotations

from typing import Any

import pytest
from world import Obj, World, node, pod

from pilothouse.scheduler.changes import same_room
from pilothouse.scheduler.podinfo import pod_info


def running(asked: str, allotted: str = "", has: str = "", infeasible: bool = False) -> Obj:
    made = pod("p", nodeName="a")
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": asked}}
    told: dict[str, Any] = {"name": "c"}
    if allotted:
        told["allocatedResources"] = {"cpu": allotted}
    if has:
        told["resources"] = {"requests": {"cpu": has}}
    pending = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}] if infeasible else []
    made["status"] = {"containerStatuses": [told], "conditions": pending}
    return made


@pytest.mark.parametrize(
    ("obj", "cpu"),
    [
        (running("1"), 1000),
        (running("1", "1", "1"), 1000),
        (running("2", "1", "1"), 2000),
        (running("1", "1", "2"), 2000),
        (running("1", "3", "2"), 3000),
        (running("9", "1", "1", infeasible=True), 1000),
        (running("9", infeasible=True), 9000),
    ],
)
def test_the_largest_of_what_is_asked_for_allotted_and_had_counts(obj: Obj, cpu: int) -> None:
    assert pod_info(obj).requests["cpu"] == cpu


def test_room_is_free_when_the_node_has_made_the_pod_smaller() -> None:
    world = World(node("a", cpu="4"))
    wish = pod("new")
    wish["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2"}}
    shrinking, shrunk = running("1", "3", "3"), running("1", "1", "1")
    world.place(shrinking, "a")
    assert world.feasible(wish) == set() and not same_room(shrinking, shrunk)
    world.place(shrunk, "a")
    assert world.feasible(wish) == {"a"}
