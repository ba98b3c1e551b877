"""Which waiting pods an event moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.clock import VirtualClock
from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.framework import ClusterEvent, Code, Plugin, Status
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


async def test_events_that_everybody_has_been_shown_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.scheduler.queue.TRIM", 2)
    waiting = queue()
    waiting.add(pod("slow"))
    slow = await waiting.pop()
    for n in range(5):
        waiting.add(pod(f"quick-{n}"))
        quick = await waiting.pop()
        waiting.happened(ClusterEvent("Node", "Add"), None, None)
        waiting.done(quick)
    assert len(waiting._events) == 5
    waiting.add(pod("last"))
    last = await waiting.pop()
    waiting.refused(slow, frozenset({"NodeResourcesFit"}))
    assert waiting.counts()["backoff"] == 1 and not waiting._events
    waiting.refused(last, frozenset({"NodeResourcesFit"}))
    assert waiting.counts()["unschedulable"] == 1


async def test_a_pod_need_not_sit_out_its_back_off_when_nothing_else_is_to_be_done() -> None:
    waiting = queue()
    await refuse(waiting, "a", "NodeResourcesFit")
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    assert waiting.counts()["backoff"] == 1
    assert (await waiting.pop()).name == "a"


async def test_a_pod_whose_attempt_failed_sits_out_its_back_off() -> None:
    clock = VirtualClock()
    waiting = SchedulingQueue(clock, PROFILE.sorter.sort_key, lambda _: PROFILE.plugins)
    waiting.add(pod("a"))
    waiting.refused(await waiting.pop(), frozenset({"DefaultBinder"}), error=True)
    taken = asyncio.ensure_future(waiting.pop())
    await clock.settle()
    assert not taken.done()
    await clock.advance(1)
    assert (await taken).name == "a"


class Doorkeeper(Plugin):
    """Lets pods in once a node has come."""

    name = "Doorkeeper"
    events = (ClusterEvent("Node", "Add"),)
    open = False

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        return None if self.open else Status(Code.UNRESOLVABLE, ("closed",), self.name)


async def test_a_gate_opens_by_an_event_that_its_plugin_waits_for() -> None:
    door = Doorkeeper()
    waiting = SchedulingQueue(VirtualClock(), PROFILE.sorter.sort_key, lambda _: [*PROFILE.plugins, door])
    waiting.add(pod("a"))
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    assert waiting.counts()["gated"] == 1
    door.open = True
    waiting.happened(ClusterEvent("Node", "UpdateTaint"), None, None)
    assert waiting.counts()["gated"] == 1
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    assert waiting.counts() == {"active": 1, "backoff": 0, "unschedulable": 0, "gated": 0}


class Counting(Plugin):
    """Counts how often its hint is asked for."""

    name = "NodeResourcesFit"
    events = (ClusterEvent("Node", "Add"),)

    def __init__(self, alike: bool) -> None:
        super().__init__()
        self.hints_alike = alike
        self.asked = 0

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Any, new: Any) -> bool:
        self.asked += 1
        return False


@pytest.mark.parametrize(("alike", "asked"), [(True, 2), (False, 6)])
async def test_pods_that_are_alike_are_asked_about_once(alike: bool, asked: int) -> None:
    plugin = Counting(alike)
    waiting = SchedulingQueue(VirtualClock(), PROFILE.sorter.sort_key, lambda _: [plugin])
    for n in range(6):
        waiting.add(pod(f"p{n}", app=str(n % 2)))
        waiting.refused(await waiting.pop(), frozenset({"NodeResourcesFit"}))
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    assert (plugin.asked, waiting.counts()["unschedulable"]) == (asked, 6)
    waiting.remove("d/p0")
    waiting.happened(ClusterEvent("Node", "Add"), None, None)
    assert waiting.counts()["unschedulable"] == 5
