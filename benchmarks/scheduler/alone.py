"""The scheduler alone: what it does for a pod between the watch and the binding, without an API server.

Each pod is parsed, queued, decided, noted and counted on its node, as `Scheduler` does it; victims of preemption leave at once. The rate
is that of the measured pods, in one process.
"""

from __future__ import annotations

import random
import resource
import time
from typing import Any

from benchmarks.scheduler.workloads import Workload
from pilothouse.api.kinds import strategy_for
from pilothouse.api.resource import Resource
from pilothouse.api.tables import RESOURCES
from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.insight.journal import Journal, Noted
from pilothouse.scheduler.insight.situation import view_of
from pilothouse.scheduler.laps import Laps
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.schedule import Outcome, Snapshot, decide, record_of
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]

PROFILE = default_config().profiles["default-scheduler"]
_POD: Resource = next(r for r in RESOURCES if (r.group, r.plural) == ("", "pods"))


class Alone:
    """A node table with a scheduler's loop around it."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        known: dict[str, dict[tuple[str, str], Obj]] = {}
        for path, obj in workload.others:
            meta = obj["metadata"]
            known.setdefault(path.rpartition("/")[2], {})[meta.get("namespace", ""), meta["name"]] = obj
        self.known = known
        self.table = NodeTable()
        self.snapshot = Snapshot(self.table, view_of(known))
        self.journal = Journal()
        self.rng = random.Random(0)
        self.left = 0
        self._strategy = strategy_for(_POD)
        for node in workload.nodes:
            self.table.set_node(node)

    def stored(self, pod: Obj) -> PodInfo:
        """The pod as the scheduler would read it: defaults are the API server's work and not measured."""
        self._strategy.default(pod)
        pod["metadata"].setdefault("uid", pod["metadata"]["name"])
        return pod_info(pod)

    def schedule(self, pod: PodInfo) -> Outcome:
        outcome = decide(self.snapshot, pod, PROFILE, self.rng, Laps(time.monotonic))
        self.journal.note(Noted(pod, PROFILE.name, 0.0, 1, record_of(outcome)))
        if outcome.preemption is not None:
            for victim in outcome.preemption.victims:
                self.table.remove_pod(victim.key)
            return self.schedule(pod)
        if outcome.node is not None:
            self.table.add_pod(pod, outcome.node)
            for plugin in PROFILE.reserves:
                plugin.reserve(outcome.cycle, outcome.node)
        else:
            self.left += 1
        return outcome

    def run(self) -> float:
        """Pods a second of CPU: it is one thread, and other people's load on the machine does not count."""
        for pod in self.workload.first:
            self.schedule(self.stored(pod))
        self.left = 0
        measured = [self.stored(p).obj for p in self.workload.measured]
        churned = self._churn_objects(len(measured))
        gone = [f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in self.workload.deleted]
        begun = time.process_time()
        for i, pod in enumerate(measured):
            self.schedule(pod_info(pod))
            if gone and i < len(gone):
                self.table.remove_pod(gone[i])
            if i in churned:
                self._happen(churned[i], churned.get(i - self.workload.every, []))
        return len(measured) / (time.process_time() - begun)

    def _churn_objects(self, count: int) -> dict[int, list[tuple[str, Obj]]]:
        make = self.workload.churn
        return {i: make(i) for i in range(0, count, self.workload.every)} if make is not None else {}

    def _happen(self, coming: list[tuple[str, Obj]], going: list[tuple[str, Obj]]) -> None:
        for path, obj in going if self.workload.recreated else ():
            if path.endswith("/nodes"):
                self.table.remove_node(obj["metadata"]["name"])
        for path, obj in coming:
            if path.endswith("/nodes"):
                self.table.set_node(obj)
            elif path.endswith("/pods"):
                left = self.left
                self.schedule(self.stored(obj))
                self.left = left


def rss() -> float:
    """This process's largest memory so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(workload: Workload) -> tuple[float, int, float]:
    """Pods a second, measured pods without a node, MiB."""
    alone = Alone(workload)
    rate = alone.run()
    return rate, alone.left, rss()
