"""What is kept per row and repaired equals what is computed afresh, after any sequence of changes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.schedule import Snapshot, schedule
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]
PROFILE = default_config().profiles["default-scheduler"]
TERM = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}}
SPREAD = {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": TERM["labelSelector"]}
WISHES: list[Obj] = [
    {},
    {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{**TERM, "topologyKey": "host"}]}}},
    {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": TERM}]}}},
    {"topologySpreadConstraints": [SPREAD]},
]


def some_pod(name: str, chance: random.Random) -> PodInfo:
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": chance.choice(("100m", "1", "2"))}}}]
    spec = {"containers": containers, "schedulerName": "default-scheduler", "priority": chance.choice((0, 10))}
    labels = {"app": chance.choice("ab")}
    return pod_info(
        {"metadata": {"name": name, "namespace": "d", "uid": name, "labels": labels}, "spec": spec | chance.choice(WISHES)}
    )


def some_node(n: int, chance: random.Random) -> Obj:
    labels = {"host": str(n), "zone": chance.choice("xyz")}
    taints = [{"key": "k", "effect": "NoSchedule"}] if chance.random() < 0.1 else []
    allocatable = {"cpu": chance.choice(("2", "4", "8")), "memory": "8Gi", "pods": "5"}
    return {"metadata": {"name": f"n{n}", "labels": labels}, "spec": {"taints": taints}, "status": {"allocatable": allocatable}}


@pytest.mark.parametrize("log", [4, 4096])
@pytest.mark.parametrize("seed", range(4))
def test_repaired_state_decides_as_fresh_state(seed: int, log: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NodeTable, "LOG", log)
    chance = random.Random(seed)
    table = NodeTable(capacity=2)
    kept = Snapshot(table)
    nodes: dict[str, Obj] = {}
    placed: dict[str, tuple[PodInfo, str]] = {}
    for step in range(150):
        kind = chance.random()
        if kind < 0.2 or not nodes:
            node = some_node(chance.randrange(24), chance)
            nodes[node["metadata"]["name"]] = node
            table.set_node(node)
        elif kind < 0.25:
            gone = chance.choice(sorted(nodes))
            del nodes[gone]
            table.remove_node(gone)
        elif kind < 0.45 and placed:
            key = chance.choice(sorted(placed))
            del placed[key]
            table.remove_pod(key)
        pod = some_pod(f"p{step}", chance)
        decision = schedule(kept, pod, PROFILE)
        assert_alike(decision, schedule(Snapshot(afresh(nodes, placed)), pod, PROFILE))
        if decision.node:
            table.add_pod(pod, decision.node)
            placed[pod.key] = pod, decision.node


def afresh(nodes: dict[str, Obj], placed: dict[str, tuple[PodInfo, str]]) -> NodeTable:
    table = NodeTable(capacity=64)
    for node in nodes.values():
        table.set_node(node)
    for pod, name in placed.values():
        table.add_pod(pod, name)
    return table


def assert_alike(one: Any, other: Any) -> None:
    assert (one.totals, one.scores, one.message, one.reason) == (other.totals, other.scores, other.message, other.reason)
