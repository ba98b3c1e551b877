"""Which waiting pods an event moves."""

from __future__ import annotations

from typing import Any

from pilothouse.clock import VirtualClock
from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.framework import ClusterEvent
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.queue import SchedulingQueue

PROFILE = default_config().profiles["default-scheduler"]


def pod(name: str, **labels: Any) -> PodInfo:
    spec = {"containers": [{"name": "c", "image": "i"}], "schedulerName": "default-scheduler"}
    return pod_info({"metadata": {"name": name, "namespace": "d", "uid": name, "labels": labels}, "spec": spec})


def queue() -> SchedulingQueue:
    return SchedulingQueue(VirtualClock(), PROFILE.sorter.sort_key, lambda _: PROFILE.plugins)


async def refuse(waiting: SchedulingQueue, name: str, *plugins: str) -> None:
    waiting.add(pod(name))
    waiting.refused(await waiting.pop(), frozenset(plugins))


async def test_an_event_moves_only_pods_refused_by_plugins_that_it_can_help() -> None:
    waiting = queue()
    await refuse(waiting, "tainted", "TaintToleration")
    await refuse(waiting, "big", "NodeResourcesFit")
    assert waiting.counts()["unschedulable"] == 2
    waiting.happened(ClusterEvent("AssignedPod", "Delete"), None, None)
    assert (waiting.counts()["unschedulable"], waiting.counts()["backoff"]) == (1, 1)
    waiting.happened(ClusterEvent("Node", "UpdateTaint"), None, None)
    assert (waiting.counts()["unschedulable"], waiting.counts()["backoff"]) == (0, 2)


async def test_an_event_during_the_decision_is_not_missed() -> None:
    waiting = queue()
    waiting.add(pod("a"))
    taken = await waiting.pop()
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    waiting.refused(taken, frozenset({"NodeResourcesFit"}))
    assert waiting.counts()["backoff"] == 1


async def test_a_changed_pod_gets_another_try() -> None:
    waiting = queue()
    await refuse(waiting, "a", "NodeAffinity")
    waiting.add(pod("a", app="b"))
    assert (waiting.counts()["unschedulable"], waiting.counts()["backoff"]) == (0, 1)


async def test_a_removed_pod_is_asked_no_more() -> None:
    waiting = queue()
    await refuse(waiting, "a", "NodeAffinity")
    waiting.remove("d/a")
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    assert not any(waiting.counts().values())


async def test_a_pod_for_which_room_is_being_made_waits_until_that_is_done() -> None:
    waiting = queue()
    waiting.hold("d/a")
    await refuse(waiting, "a", "NodeResourcesFit")
    waiting.happened(ClusterEvent("AssignedPod", "Delete"), None, None)
    assert waiting.counts()["unschedulable"] == 1
    waiting.release("d/a")
    assert (waiting.counts()["unschedulable"], waiting.counts()["backoff"]) == (0, 1)


async def test_a_pod_for_which_room_was_made_in_vain_waits_for_an_event() -> None:
    waiting = queue()
    waiting.hold("d/a")
    await refuse(waiting, "a", "NodeResourcesFit")
    waiting.release("d/a")
    assert waiting.counts()["unschedulable"] == 1
