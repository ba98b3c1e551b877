"""Replay recorded scheduling decisions in process: `python replay_schedule.py FILE` prints how many are the same.

Each line of FILE (plain or gzip) is a small cluster and pods that were offered to it one after another, with what kube-scheduler
decided: the feasible nodes, the weighted score of each plugin on each, the choice, or the message, the victims and the nominated node.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilothouse.api.podspec.defaults import default_pod_only, default_pod_spec
from pilothouse.api.selectors import label_predicate
from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.decision import Decision
from pilothouse.scheduler.framework import ClusterView
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.schedule import Snapshot, schedule
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]

PRIORITIES = {"low": (10, ""), "mid": (100, ""), "high": (1000, ""), "polite": (1000, "Never")}
KINDS = ("feasible nodes", "scores", "choice has the highest total", "message", "victims", "nominated node")


def read(path: Path) -> Iterator[Obj]:
    """The scenarios of a file."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for line in lines:
            yield json.loads(line)


def admitted(pod: Obj) -> Obj:
    """The pod as the API would have stored it: what scheduling looks at defaulted, its priority class resolved."""
    spec = pod["spec"]
    default_pod_spec(spec)
    default_pod_only(spec)
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("priorityClassName") in PRIORITIES:
        spec["priority"], policy = PRIORITIES[spec["priorityClassName"]]
        if policy:
            spec["preemptionPolicy"] = policy
    return pod


class Replay:
    """One scenario's cluster."""

    def __init__(self, scenario: Obj) -> None:
        self.scenario = scenario
        self.table = NodeTable()
        for node in scenario["nodes"]:
            self.table.set_node(node)
        for pod in scenario["pods"]:
            self.table.add_pod(pod_info(admitted(pod)), pod["spec"]["nodeName"])
        view = ClusterView(
            owner_selectors=self._owners,
            namespace_labels=lambda name: scenario["namespaces"].get(name) or {},
            budgets=lambda namespace: [b for b in scenario["pdbs"] if b["metadata"]["namespace"] == namespace],
        )
        self.snapshot = Snapshot(self.table, view)
        self.profile = default_config().profiles["default-scheduler"]

    def _owners(self, pod: PodInfo) -> list[Obj]:
        selectors = [s["spec"].get("selector") for s in self.scenario["services"] if s["metadata"]["namespace"] == pod.namespace]
        return [{"matchLabels": s} for s in selectors if s and label_predicate({"matchLabels": s})(pod.labels)]

    def steps(self) -> Iterator[tuple[Obj, Decision]]:
        """Each step with our decision; the cluster then goes on from what was recorded."""
        for step in self.scenario["steps"]:
            info = pod_info(admitted(step["pod"]))
            yield step, schedule(self.snapshot, info, self.profile)
            if step["want"]["chosen"]:
                self.table.add_pod(info, step["want"]["chosen"])
            for victim in step["want"].get("victims") or ():
                self.table.remove_pod(victim)


def differences(want: Obj, got: Decision) -> Iterator[tuple[str, Any, Any]]:
    """(what was compared, wanted, ours) for everything that a step's record holds; equal pairs are the same."""
    totals = want.get("totals") or {}
    if totals:
        yield "feasible nodes", sorted(totals), sorted(got.totals) or [got.node]
        yield "scores", want["scores"], {node: got.score_of(node) for node in totals}
    if want["chosen"]:
        best = max(got.totals.values(), default=0)
        right = got.totals.get(want["chosen"], -1) == best if got.totals else got.node == want["chosen"]
        yield "choice has the highest total", want["chosen"], want["chosen"] if right else got.node
    else:
        yield "message", (want["reason"], want["message"]), (got.reason, got.message)
        yield "victims", sorted(want.get("victims") or ()), sorted(got.victims)
        yield "nominated node", want.get("nominated") or "", got.nominated


def compare(path: Path) -> tuple[Counter[str], Counter[str], list[str]]:
    """Per kind of comparison: how many, how many the same; and a line for each that is not."""
    asked: Counter[str] = Counter()
    same: Counter[str] = Counter()
    told: list[str] = []
    for n, scenario in enumerate(read(path)):
        for step, decision in Replay(scenario).steps():
            for kind, wanted, ours in differences(step["want"], decision):
                asked[kind] += 1
                same[kind] += wanted == ours
                if wanted != ours:
                    told.append(f"{n} {scenario['theme']} {step['pod']['metadata']['name']} {kind}: wanted {wanted}, got {ours}")
    return asked, same, told


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print("usage: replay_schedule.py FILE [how many differences to show]", file=sys.stderr)
        return 2
    asked, same, told = compare(Path(sys.argv[1]))
    for kind in KINDS:
        print(f"{kind:30} {same[kind]:6} of {asked[kind]:6}  {100 * same[kind] / max(1, asked[kind]):6.2f} %")
    for line in told[: int(sys.argv[2]) if len(sys.argv) == 3 else 0]:
        print(line)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
