"""DefaultPreemption: when no node is feasible, find the node where removing pods of lower priority does the least harm.

Rules (Kubernetes documentation, "Pod Priority and Preemption"): only nodes whose refusal fewer pods could lift; all pods of lower
priority are thought away, then given back in order of importance, those protected by a PodDisruptionBudget first, as long as the
newcomer still fits; what does not fit back is a victim. The node with the fewest broken budgets wins, then the lowest highest
priority among its victims, the smallest sum of priorities, the fewest victims, the latest start of the most important ones.
Arguments: `minCandidateNodesPercentage` (10), `minCandidateNodesAbsolute` (100).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pilothouse.api import selectors
from pilothouse.scheduler.decision import unschedulable_message
from pilothouse.scheduler.framework import ClusterEvent, Code, Cycle, Obj, Plugin, Preemption, Rejected, Status, implements
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.schedule import refused
from pilothouse.scheduler.table import Ints, Mask, Row
from pilothouse.scheduler.trial import Trial

#: Where a cycle notes that preemption was not even tried, so that a nomination stands.
INELIGIBLE = "DefaultPreemption/ineligible"
HOPELESS = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
_LIFT = 2**31  # makes every priority positive, so that more victims never look cheaper


@dataclass(slots=True)
class Candidate:
    """A node that would do, and its price."""

    row: Row
    victims: list[PodInfo]  # most important first
    violations: int

    def price(self) -> tuple[float, ...]:
        top = self.victims[0].priority
        earliest = min(p.started_at for p in self.victims if p.priority == top)
        return self.violations, top, sum(p.priority + _LIFT for p in self.victims), len(self.victims), -earliest


def preemption(plugin: str, candidates: Sequence[Candidate]) -> Preemption:
    """The cheapest candidate; the others are told too, for extenders to choose from."""
    best = min(candidates, key=Candidate.price)
    return Preemption(Code.SUCCESS, (), plugin, best.row.name, tuple(best.victims), tuple(candidates))


class DefaultPreemption(Plugin):
    name = "DefaultPreemption"
    events = (ClusterEvent("AssignedPod", "Delete"),)

    def __init__(self, args: Obj | None = None) -> None:
        super().__init__(args)
        self.percentage = int(self.args.get("minCandidateNodesPercentage", 10))
        self.absolute = int(self.args.get("minCandidateNodesAbsolute", 100))

    def post_filter(self, cycle: Cycle, rejections: Sequence[tuple[str, Rejected]]) -> Status | None:
        problem = _not_eligible(cycle, rejections)
        if problem:
            cycle.state[INELIGIBLE] = problem
            return Status(Code.UNSCHEDULABLE, (f"preemption: {problem}",))
        told: Counter[str] = Counter()
        possible = _possible_rows(cycle, rejections, told)
        candidates = self._candidates(cycle, possible, told)
        if candidates:
            return preemption(self.name, candidates)
        return Status(Code.UNSCHEDULABLE, ("preemption: " + unschedulable_message(cycle.table.node_count(), told),))

    def _candidates(self, cycle: Cycle, possible: Ints, told: Counter[str]) -> list[Candidate]:
        limit = max(self.absolute, cycle.table.node_count() * self.percentage // 100)
        if len(possible) > limit and cycle.chance is not None:
            possible = np.roll(possible, -cycle.chance.randrange(len(possible)))  # not the same nodes each time
        budgets = _Budgets(cycle)
        expected = _expected(cycle)
        tried = _Tried(cycle)
        found: list[Candidate] = []
        for i in possible:
            row = cycle.table.rows[i]
            assert row is not None
            beside = expected.get(row.name, ())
            alone = not beside and not budgets.concern(row)
            result = tried.known(int(i)) if alone else None
            if result is None:
                result = _try_beside(cycle, row, budgets, beside)
                if alone:
                    tried.keep(int(i), result)
            if isinstance(result, Candidate):
                found.append(result)
                if len(found) >= limit:
                    break
            else:
                told.update(result)
        return found


def _not_eligible(cycle: Cycle, rejections: Sequence[tuple[str, Rejected]]) -> str:
    pod = cycle.pod
    if pod.spec.get("preemptionPolicy") == "Never":
        return "not eligible due to preemptionPolicy=Never."
    row = cycle.table.by_name.get(pod.expected_node)
    if row is None or any(r.unresolvable and r.rows[row.index] for _, r in rejections):
        return ""
    leaving = any(p.terminating and p.priority < pod.priority and _evicted(p) for p in row.pods.values())
    return "not eligible due to a terminating pod on the nominated node." if leaving else ""


def _evicted(pod: PodInfo) -> bool:
    """Whether a scheduler's preemption is why the pod leaves."""
    listed = (pod.obj.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "DisruptionTarget" and c.get("reason") == "PreemptionByScheduler" for c in listed)


def _possible_rows(cycle: Cycle, rejections: Sequence[tuple[str, Rejected]], told: Counter[str]) -> Ints:
    """Rows where fewer pods could help, less those that a later filter refuses whatever pods are there."""
    hopeless: Mask = ~cycle.table.present
    for _, r in rejections:
        if r.unresolvable:
            hopeless = hopeless | r.rows
    told[HOPELESS] = int(np.count_nonzero(hopeless & cycle.table.present))
    possible = ~hopeless
    victims_somewhere = cycle.table.with_lower_priority(cycle.pod.priority, possible)
    told[NO_VICTIMS] = int(np.count_nonzero(possible & ~victims_somewhere))
    possible &= victims_somewhere
    for plugin in cycle.filters:
        if implements(plugin, "refit") or not possible.any():
            continue
        for r in refused(plugin, cycle, possible):
            told[r.reason] += int(np.count_nonzero(r.rows & possible))
            possible = possible & ~r.rows
    for reason in [reason for reason, count in told.items() if not count]:
        del told[reason]
    return np.flatnonzero(possible)


class _Tried:
    """What trials of nodes gave for pods of this class and priority: kept as long as a node and its pods do not change.

    Only where no filter looks beyond the node that is tried.
    """

    def __init__(self, cycle: Cycle) -> None:
        self._table = cycle.table
        self._local = all(p.refit_is_local for p in cycle.filters if implements(p, "refit"))
        key = (DefaultPreemption.name, cycle.pod.priority)
        self._results: dict[int, tuple[int, int, Candidate | tuple[str, ...]]] = cycle.shared.caches.setdefault(key, {})

    def known(self, i: int) -> Candidate | tuple[str, ...] | None:
        found = self._results.get(i) if self._local else None
        if found is None or found[0] != self._table.usage.data[i] or found[1] != self._table.static.data[i]:
            return None
        return found[2]

    def keep(self, i: int, result: Candidate | tuple[str, ...]) -> None:
        if self._local:
            self._results[i] = (int(self._table.usage.data[i]), int(self._table.static.data[i]), result)


def _expected(cycle: Cycle) -> dict[str, list[PodInfo]]:
    """By node, the pods of no lower priority for which room was made there: the newcomer may not count on that room."""
    out: dict[str, list[PodInfo]] = {}
    for pod, node in cycle.nominated:
        if pod.priority >= cycle.pod.priority and pod.key != cycle.pod.key and pod.key not in cycle.table.pod_rows:
            out.setdefault(node, []).append(pod)
    return out


def _try_beside(cycle: Cycle, row: Row, budgets: _Budgets, expected: Sequence[PodInfo]) -> Candidate | tuple[str, ...]:
    """Try a node with the pods that are expected there. What is counted over several nodes does not see them."""
    for pod in expected:
        cycle.table.add_pod(pod, row.name)
    try:
        return _try(cycle, row, budgets)
    finally:
        for pod in expected:
            cycle.table.remove_pod(pod.key)


def _try(cycle: Cycle, row: Row, budgets: _Budgets) -> Candidate | tuple[str, ...]:
    """A candidate, or the reasons for which the pod would not fit even then."""
    trial = Trial(row)
    for pod in row.pods.values():
        if pod.priority < cycle.pod.priority:
            trial.remove(pod)
    status = _refit(cycle, trial)
    if status is not None:
        return status.reasons
    broken, kept = budgets.split(sorted(trial.removed.values(), key=importance))
    violations = 0
    for pods, protected in ((broken, True), (kept, False)):
        for pod in pods:
            trial.restore(pod)
            if _refit(cycle, trial) is not None:
                trial.remove(pod)
                violations += protected
    return Candidate(row, sorted(trial.removed.values(), key=importance), violations) if trial.removed else (NO_VICTIMS,)


def _refit(cycle: Cycle, trial: Trial) -> Status | None:
    for plugin in cycle.filters:
        if implements(plugin, "refit"):
            status = plugin.refit(cycle, trial)
            if status is not None:
                return status
    return None


def importance(pod: PodInfo) -> tuple[float, float]:
    """Sorts the most important pod first: higher priority, then longer running."""
    return -pod.priority, pod.started_at


class _Budgets:
    """The PodDisruptionBudgets, and how many disruptions each still allows."""

    def __init__(self, cycle: Cycle) -> None:
        self._view = cycle.view
        self._of: dict[str, list[tuple[Obj, selectors.Predicate]]] = {}

    def _in(self, namespace: str) -> list[tuple[Obj, selectors.Predicate]]:
        known = self._of.get(namespace)
        if known is None:
            listed = ((b, (b.get("spec") or {}).get("selector")) for b in self._view.budgets(namespace))
            known = self._of[namespace] = [
                (b, selectors.label_predicate(s)) for b, s in listed if s and (s.get("matchLabels") or s.get("matchExpressions"))
            ]
        return known

    def concern(self, row: Row) -> bool:
        """Whether there are budgets in a namespace of this node's pods: then what is tried depends on more than the node."""
        return any(self._in(namespace) for namespace in {p.namespace for p in row.pods.values()})

    def split(self, pods: Sequence[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """Pods (most important first) whose loss would break a budget, and the others."""
        allowed: dict[str, int] = {}
        broken: list[PodInfo] = []
        kept: list[PodInfo] = []
        for pod in pods:
            breaks = False
            for budget, matches in self._in(pod.namespace) if pod.labels else ():
                status = budget.get("status") or {}
                if not matches(pod.labels) or pod.name in (status.get("disruptedPods") or {}):
                    continue
                key = f"{pod.namespace}/{budget['metadata']['name']}"
                allowed[key] = allowed.get(key, status.get("disruptionsAllowed") or 0) - 1
                breaks = breaks or allowed[key] < 0
            (broken if breaks else kept).append(pod)
        return broken, kept
