"""Whatever happens in whatever order: what is kept up to date by deltas equals what is built afresh."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.scheduler.decision import Decision
from pilothouse.scheduler.insight.sandbox import Sandbox
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Snapshot, schedule
from pilothouse.scheduler.table import NodeTable

from .vectorised import PROFILE, snapshot, view
from .worlds import EXAMPLES, SEEDS, Obj, World, nodes, pods, seeded

NAMES = [f"n{i}" for i in range(4)]
EVENTS = ["set node", "set node", "remove node", "add pod", "add pod", "add pod", "remove pod", "decide"]


def decision_of(base: Snapshot, pod: Obj) -> Decision:
    return schedule(base, pod_info(pod), PROFILE, random.Random(0))


def alike(a: Decision, b: Decision) -> bool:
    """The same, but for the order of rows, by which ties are broken."""
    return (a.node is None, a.totals, a.scores, a.message, bool(a.nominated), len(a.victims), sorted_verdicts(a)) == (
        b.node is None, b.totals, b.scores, b.message, bool(b.nominated), len(b.victims), sorted_verdicts(b),
    )  # fmt: skip


def sorted_verdicts(decision: Decision) -> list[Any]:
    return [(v.plugin, v.reason, v.unresolvable, sorted(v.nodes)) for v in decision.rejected]


def columns(table: NodeTable) -> Obj:
    """What the table knows of each node."""
    out = {}
    for row in table.nodes():
        i = row.index
        counted = {r: int(c.data[i]) for r, c in table.requested.items() if c.data[i]}
        total = {r: int(c.data[i]) for r, c in table.allocatable.items() if c.data[i]}
        scored = {r: int(c.data[i]) for r, c in table.scored.items()}
        out[row.name] = (counted, total, scored, int(table.pod_count.data[i]), table.taint_sets[table.taint_set.data[i]],
                         bool(table.unschedulable[i]), row.ports, sorted(row.pods))  # fmt: skip
    return out


class Live:
    """One table that sees everything, and the world as it should be."""

    def __init__(self) -> None:
        self.world = World()
        self.pods: dict[str, Obj] = {}
        self.base = Snapshot(NodeTable(capacity=2), view([]))

    def fresh(self) -> Snapshot:
        return snapshot(self.world)

    def happen(self, data: st.DataObject, number: int) -> None:
        event = data.draw(st.sampled_from(EVENTS))
        table = self.base.table
        there = sorted(self.world.nodes)
        if event == "set node":
            node = nodes(seeded(data.draw(SEEDS), "node"), data.draw(st.sampled_from(NAMES)))
            self.world.nodes[node["metadata"]["name"]] = node
            table.set_node(node)
        elif event == "remove node" and there:
            gone = data.draw(st.sampled_from(there))
            self.world.bound = [(where, p) for where, p in self.world.bound if where != gone]
            del self.world.nodes[gone]
            for key in list(table.by_name[gone].pods):
                table.remove_pod(key)
            table.remove_node(gone)
        elif event == "add pod" and there:
            pod, where = pods(seeded(data.draw(SEEDS), "pod"), f"p{number}"), data.draw(st.sampled_from(there))
            self.world.bound.append((where, pod))
            table.add_pod(pod_info(pod), where)
        elif event == "remove pod" and self.world.bound:
            _, pod = self.world.bound.pop(data.draw(st.integers(0, len(self.world.bound) - 1)))
            table.remove_pod(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
        elif event == "decide":
            decision_of(self.base, pods(seeded(data.draw(SEEDS), "pod"), "asking"))


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_after_any_events_decisions_are_those_of_a_new_table(data: st.DataObject) -> None:
    live = Live()
    asking = [pods(seeded(data.draw(SEEDS), "pod"), f"asking{i}") for i in range(2)]
    for number in range(data.draw(st.integers(1, 14))):
        live.happen(data, number)
        for pod in asking:
            live_one, fresh_one = decision_of(live.base, pod), decision_of(live.fresh(), pod)
            assert alike(live_one, fresh_one), (live_one, fresh_one)
    assert columns(live.base.table) == columns(live.fresh().table)


@pytest.mark.parametrize("decide", [False, True])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_sandbox_leaves_no_trace(decide: bool, data: st.DataObject) -> None:
    live = Live()
    for number in range(data.draw(st.integers(1, 8))):
        live.happen(data, number)
    asking = pods(seeded(data.draw(SEEDS), "pod"), "asking")
    before, decided = columns(live.base.table), decision_of(live.base, asking)
    with Sandbox(live.base) as box:
        box.add_node(nodes(seeded(data.draw(SEEDS), "node"), "more"))
        for name in list(live.world.nodes)[:1]:
            box.cordon(name)
        for key in list(live.base.table.pod_rows)[:2]:
            box.remove(key)
        box.place(pod_info(pods(seeded(data.draw(SEEDS), "pod"), "tried")), "more")
        if decide:
            decision_of(box.snapshot, asking)
    assert columns(live.base.table) == before
    assert alike(decision_of(live.base, asking), decided)
