"""The memory of decisions: bounded, the newest of each pod, and true after the cluster has changed."""

from __future__ import annotations

import random

from test_schedule import PROFILE, node, pod, table_of

from pilothouse.scheduler.insight.journal import Journal, Noted
from pilothouse.scheduler.laps import Laps
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Snapshot, decide, record_of
from pilothouse.scheduler.table import NodeTable


def noted(table: NodeTable, name: str, cpu: str = "1", at: float = 0.0) -> Noted:
    info = pod_info(pod(name, cpu=cpu))
    ticks = iter(range(1000))
    outcome = decide(Snapshot(table), info, PROFILE, random.Random(0), Laps(lambda: float(next(ticks))))
    return Noted(info, PROFILE.name, at, 1, record_of(outcome))


def test_a_flood_of_placed_pods_does_not_push_out_those_that_wait() -> None:
    table, journal = table_of(node("a"), node("b")), Journal(limit=3)
    journal.note(noted(table, "waits", cpu="99"))
    for n in range(10):
        journal.note(noted(table, f"p{n}"))
    assert journal.of("default/waits") is not None and journal.of("default/p0") is None
    assert [n.pod.name for n in journal.all()] == ["p7", "p8", "p9", "waits"]


def test_a_new_decision_takes_the_place_of_the_pods_last_one() -> None:
    table, journal = table_of(node("a")), Journal()
    journal.note(noted(table, "p", cpu="99", at=1))
    journal.note(noted(table, "p", at=2))
    assert [(n.at, n.record.node) for n in journal.all()] == [(2, "a")]


def test_memory_is_bounded_too() -> None:
    table, journal = table_of(node("a"), node("b")), Journal(nbytes=2500)
    for n in range(10):
        journal.note(noted(table, f"p{n}"))
    assert 1 <= len(journal.all()) <= 2


def test_a_decision_stays_true_when_nodes_come_and_go() -> None:
    table = table_of(node("a"), node("b", cpu="0"))
    kept = noted(table, "p")
    table.remove_node("a")
    table.set_node(node("c"))
    decision = kept.record.decision()
    assert decision.node == "a" and decision.rejected[0].nodes == ("b",) and decision.nodes_total == 2


def test_each_plugins_time_is_taken() -> None:
    laps = noted(table_of(node("a"), node("b")), "p").record.laps
    assert {point for point, _, _ in laps} == {"PreFilter", "Filter", "PreScore", "Score"}
    assert ("Score", "NodeResourcesFit", 1.0) in laps
