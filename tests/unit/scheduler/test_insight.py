"""Explanations: the nearest nodes with what keeps a pod from them, the words, and the picture."""

from __future__ import annotations

import random
from typing import Any
from xml.etree import ElementTree

import pytest
from test_schedule import PROFILE, node, pod, table_of

from pilothouse.clock import VirtualClock
from pilothouse.scheduler.config import SchedulerConfig
from pilothouse.scheduler.insight.answers import Known, answer
from pilothouse.scheduler.insight.journal import Journal, Noted
from pilothouse.scheduler.insight.nearest import nearest
from pilothouse.scheduler.insight.picture import picture
from pilothouse.scheduler.insight.text import decision_text
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Snapshot, decide, record_of
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]
SPREAD = [
    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}}
]
NEAR = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}


def required(kind: str) -> Obj:
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [NEAR]}}


def explained(table: NodeTable, obj: Obj) -> Obj:
    """The API object about a pod that waits, or just got its node."""
    snapshot, journal, info, clock = Snapshot(table), Journal(), pod_info(obj), VirtualClock()
    outcome = decide(snapshot, info, PROFILE, random.Random(0))
    journal.note(Noted(info, PROFILE.name, clock.now(), 2, record_of(outcome)))
    config = SchedulerConfig({PROFILE.name: PROFILE})
    known = Known(snapshot, lambda: config, journal, clock, lambda ns, name: obj, lambda: (), lambda key: "unschedulable")
    code, body = answer(known, {"kind": "decision", "namespace": "default", "name": obj["metadata"]["name"]})
    assert code == 200
    return body


@pytest.mark.parametrize(
    ("spec", "labels", "remedy"),
    [
        ({"cpu": "3500m"}, {}, "cpu: 1.5 short (asks for 3.5, 2 of 4 free)"),
        ({"tolerations": []}, {}, None),
        ({"nodeSelector": {"disk": "ssd"}}, {}, "the node lacks disk=ssd"),
        (
            {"topologySpreadConstraints": SPREAD},
            {"app": "x"},
            "zone=1 has 1 matching pods, the least of all domains 0, maxSkew is 1",
        ),
        ({"affinity": required("podAntiAffinity")}, {}, "1 pods that it must be far from run in zone=1"),
    ],
)
def test_each_obstacle_says_what_would_have_to_change(spec: Obj, labels: Obj, remedy: str | None) -> None:
    table = table_of(node("a", labels={"zone": "1"}), node("b", cpu="0", labels={"zone": "2"}))
    table.add_pod(pod_info(pod("there", cpu="2", labels={"app": "x"})), "a")
    spec = {"cpu": "1", **spec}
    near = {n.node: n.obstacles for n in nearest(Snapshot(table), pod_info(pod("p", labels=labels, **spec)), PROFILE)}
    assert [o.remedy for o in near["a"]] == ([remedy] if remedy else [])


def test_the_node_with_the_fewest_obstacles_and_the_smallest_shortage_is_the_nearest() -> None:
    taint = [{"key": "k", "value": "v", "effect": "NoSchedule"}]
    table = table_of(node("tainted", cpu="1", taints=taint), node("small", cpu="1"), node("middle", cpu="3"))
    near = nearest(Snapshot(table), pod_info(pod("p", cpu="4")), PROFILE)
    assert [n.node for n in near] == ["middle", "small", "tainted"]
    assert [o.remedy for o in near[2].obstacles] == ["tolerate k=v:NoSchedule", "cpu: 3 short (asks for 4, 1 of 1 free)"]


def test_a_waiting_pod_is_told_what_it_waits_for() -> None:
    told = decision_text(explained(table_of(node("a", cpu="1"), node("b", cpu="2")), pod("p", cpu="3")))
    assert "Pod default/p has no node: Unschedulable" in told and "attempt 2" in told and "unschedulable queue" in told
    assert "NodeResourcesFit  2      Insufficient cpu  a, b" in told
    assert "b     NodeResourcesFit  cpu: 1 short (asks for 3, 2 of 2 free)" in told


def test_a_placed_pod_is_told_what_made_the_difference() -> None:
    table = table_of(node("a"), node("b"), node("c", cpu="0"))
    table.add_pod(pod_info(pod("x", cpu="2")), "a")
    told = decision_text(explained(table, pod("p", cpu="1")))
    assert "goes to b" in told or "is on b" in told
    assert "2 of 3 nodes could run it" in told and "b is " in told and "ahead of a: NodeResourcesFit +" in told


def test_the_picture_shows_every_node_once() -> None:
    table = table_of(node("a"), node("b"), node("c", cpu="0"), node("<d>", unschedulable=True))
    drawn = ElementTree.fromstring(picture(explained(table, pod("p", cpu="1"))))
    texts = [t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")]
    titles = [t.text for t in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert {"a", "b"} <= set(texts) and {"c", "<d>"} <= set(titles)
    assert "1 × Insufficient cpu  (NodeResourcesFit)" in texts


def test_a_gated_pod_is_explained_though_it_was_never_decided() -> None:
    snapshot, obj = Snapshot(table_of(node("a"))), pod("p", schedulingGates=[{"name": "g"}])
    config = SchedulerConfig({PROFILE.name: PROFILE})
    known = Known(snapshot, lambda: config, Journal(), VirtualClock(), lambda ns, name: obj, lambda: (), lambda key: "gated")
    code, body = answer(known, {"kind": "decision", "namespace": "default", "name": "p"})
    assert (code, body["status"]["result"], body["status"]["queue"]) == (200, "SchedulingGated", "gated")
    assert "Scheduling is blocked" in decision_text(body)


def test_a_pod_whose_decision_is_forgotten_is_decided_anew_without_itself() -> None:
    table = table_of(node("a", cpu="1"), node("b", cpu="1"))
    obj = pod("p", cpu="1", nodeName="a")
    table.add_pod(pod_info(obj), "a")
    config = SchedulerConfig({PROFILE.name: PROFILE})
    known = Known(Snapshot(table), lambda: config, Journal(), VirtualClock(), lambda ns, name: obj, lambda: (), lambda key: "")
    body = answer(known, {"kind": "decision", "namespace": "default", "name": "p"})[1]
    assert not body["spec"]["recorded"] and {s["node"] for s in body["status"]["scores"]} == {"a", "b"}
    assert table.pod_rows["default/p"].name == "a" and table.requested["cpu"].data.sum() == 1000


def test_nobody_knows_a_pod_that_never_was() -> None:
    config = SchedulerConfig({PROFILE.name: PROFILE})
    known = Known(
        Snapshot(table_of()), lambda: config, Journal(), VirtualClock(), lambda ns, name: None, lambda: (), lambda key: ""
    )
    code, body = answer(known, {"kind": "decision", "namespace": "default", "name": "p"})
    assert (code, body["reason"]) == (404, "NotFound")
