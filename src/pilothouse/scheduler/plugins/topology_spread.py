"""PodTopologySpread: keep pods that match a selector even over the values of a node label (KEP-895).

Per constraint the matching pods of each row are a counter kept by deltas; domains are interned label values; so counts per domain are
one `bincount`. DoNotSchedule constraints filter, ScheduleAnyway ones score. A pod without constraints that belongs to a Service or to a
controller gets the defaults (hostname maxSkew 3, zone maxSkew 5, both ScheduleAnyway) unless the arguments list others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from pilothouse.api import selectors
from pilothouse.api.nodeselectors import required_predicate
from pilothouse.scheduler.counters import required_labels
from pilothouse.scheduler.framework import (
    IDLE_FILTER,
    MAX_NODE_SCORE,
    NOWHERE,
    SKIP,
    ClusterEvent,
    Code,
    Cycle,
    Plugin,
    Rejected,
    Status,
)
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints, Mask, Row
from pilothouse.scheduler.tolerations import untolerated
from pilothouse.scheduler.trial import Trial

Obj = dict[str, Any]

REASON = "node(s) didn't match pod topology spread constraints"
HOSTNAME = "kubernetes.io/hostname"
SYSTEM_DEFAULTS = (
    {"maxSkew": 3, "topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway"},
    {"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"},
)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A topology spread constraint, ready to count with."""

    key: str
    max_skew: int
    min_domains: int
    selector: Obj
    honor_affinity: bool
    honor_taints: bool
    matches_self: bool
    identity: bytes


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"
    hints_alike = True
    events = (
        ClusterEvent("AssignedPod", "Add"),
        ClusterEvent("AssignedPod", "Delete"),
        ClusterEvent("AssignedPod", "UpdateLabel"),
        ClusterEvent("Node", "Add"),
        ClusterEvent("Node", "Delete"),
        ClusterEvent("Node", "UpdateLabel"),
        ClusterEvent("Node", "UpdateTaint"),
        ClusterEvent("Pod", "UpdateLabel"),
    )

    def __init__(self, args: Obj | None = None) -> None:
        super().__init__(args)
        listed = self.args.get("defaultingType") == "List"
        self.defaults: Iterable[Obj] = (self.args.get("defaultConstraints") or ()) if listed else SYSTEM_DEFAULTS
        self.system_defaults = not listed

    def idle(self, pod: PodInfo) -> frozenset[str]:
        own = pod.spec.get("topologySpreadConstraints") or ()
        return NOWHERE if any(c["whenUnsatisfiable"] == "DoNotSchedule" for c in own) else IDLE_FILTER

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        hard = [c for c in pod.spec.get("topologySpreadConstraints") or () if c["whenUnsatisfiable"] == "DoNotSchedule"]
        if event.resource == "Node":
            keys = {c["topologyKey"] for c in hard}
            was, now = (((o or {"metadata": {}})["metadata"].get("labels") or {}) for o in (old, new))
            if event.action == "UpdateLabel" and {k: was.get(k) for k in keys} == {k: now.get(k) for k in keys}:
                return False
            return event.action == "UpdateTaint" or keys <= was.keys() or keys <= now.keys()
        metas = [o["metadata"] for o in (old, new) if o is not None]
        if any(m.get("namespace") != pod.namespace for m in metas):
            return False
        wanted = [make_constraint(pod, c).selector for c in hard]
        return any(selectors.label_predicate(s)(m.get("labels") or {}) for s in wanted for m in metas)

    # --- filter ----------------------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> Status | None:
        constraints = self._constraints(cycle, "DoNotSchedule")
        cycle.state["spread/hard"] = constraints
        return None if constraints else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        constraints: list[Constraint] = cycle.state["spread/hard"]
        lacking = np.zeros_like(cycle.table.present)
        for c in constraints:
            lacking |= cycle.table.label_column(c.key) < 0
        yield Rejected(f"{REASON} (missing required label)", lacking, unresolvable=True)
        skewed = np.zeros_like(lacking)
        for c in constraints:
            skewed |= self._too_skewed(cycle, c, ~lacking)
        yield Rejected(REASON, skewed & ~lacking)

    def _too_skewed(self, cycle: Cycle, c: Constraint, labelled: Mask) -> Mask:
        domains = cycle.table.label_column(c.key)
        counts, lowest = self._domain_counts(cycle, c, labelled)
        cycle.state[f"spread/counts/{id(c)}"] = counts, lowest
        per_row = np.where(domains >= 0, counts[np.maximum(domains, 0)], 0)
        too_skewed: Mask = per_row + int(c.matches_self) - lowest > c.max_skew
        return too_skewed

    def _domain_counts(self, cycle: Cycle, c: Constraint, labelled: Mask) -> tuple[Any, float]:
        """Matching pods per domain, and the lowest count of a domain that takes part."""
        table = cycle.table
        domains = table.label_column(c.key)
        eligible = table.present & labelled & self._included(cycle, c)
        size = max(1, table.domain_count(c.key))
        counts = np.bincount(domains[eligible], weights=self._counter(cycle, c)[eligible], minlength=size)
        existing = np.bincount(domains[eligible], minlength=size) > 0
        lowest = counts[existing].min() if existing.any() else 0
        return counts, 0 if int(existing.sum()) < c.min_domains else lowest

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        constraints: list[Constraint] = cycle.state["spread/hard"]
        lacking = [c.key for c in constraints if c.key not in node.labels]
        if lacking:
            return f"the node lacks the label {', '.join(lacking)}"
        told = []
        labelled = np.logical_and.reduce([cycle.table.label_column(c.key) >= 0 for c in constraints])
        for c in constraints:
            counts, lowest = self._domain_counts(cycle, c, labelled)
            here = int(counts[cycle.table.label_column(c.key)[node.index]])
            if here + int(c.matches_self) - lowest > c.max_skew:
                where = f"{c.key}={node.labels[c.key]}"
                told.append(f"{where} has {here} matching pods, the least of all domains {int(lowest)}, maxSkew is {c.max_skew}")
        return "; ".join(told) or None

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        constraints: list[Constraint] = cycle.state["spread/hard"]
        labelled = np.ones_like(cycle.table.present)
        for c in constraints:
            labelled &= cycle.table.label_column(c.key) >= 0
        if not labelled[trial.row.index]:
            return Status(Code.UNRESOLVABLE, (f"{REASON} (missing required label)",))
        for c in constraints:
            known = cycle.state.get(f"spread/counts/{id(c)}")
            counts, lowest = known or self._domain_counts(cycle, c, labelled)
            cycle.state[f"spread/counts/{id(c)}"] = counts, lowest
            matches = selectors.label_predicate(c.selector)
            gone = [p for p in trial.removed.values() if p.namespace == cycle.pod.namespace and not p.terminating]
            freed = sum(1 for p in gone if matches(p.labels)) if self._included(cycle, c)[trial.row.index] else 0
            here = counts[cycle.table.label_column(c.key)[trial.row.index]] - freed
            if here + int(c.matches_self) - min(lowest, here) > c.max_skew:
                return Status(Code.UNSCHEDULABLE, (REASON,))
        return None

    # --- score -----------------------------------------------------------------------------------------------------------------

    def pre_score(self, cycle: Cycle) -> Status | None:
        constraints = self._constraints(cycle, "ScheduleAnyway")
        own = bool(cycle.pod.spec.get("topologySpreadConstraints"))
        if not constraints and not own:
            constraints = self._default_constraints(cycle)
        if not constraints:
            return SKIP
        cycle.state["spread/soft"] = constraints
        require_all = own or not self.system_defaults
        ignored = np.zeros_like(cycle.feasible)
        if require_all:
            for c in constraints:
                ignored |= cycle.table.label_column(c.key) < 0
        cycle.state["spread/ignored"] = ignored
        cycle.state["spread/require"] = require_all
        return None

    def score_all(self, cycle: Cycle) -> Ints:
        total = np.zeros(cycle.table.capacity, dtype=np.float64)
        candidates = cycle.feasible & ~cycle.state["spread/ignored"]
        for c in cycle.state["spread/soft"]:
            total += self._soft_score(cycle, c, candidates)
        return np.floor(total + 0.5).astype(np.int64)

    def _soft_score(self, cycle: Cycle, c: Constraint, candidates: Mask) -> Any:
        table = cycle.table
        domains = table.label_column(c.key)
        labelled = domains >= 0
        if c.key == HOSTNAME:
            per_row = self._counter(cycle, c).astype(np.float64)
            size = int(candidates.sum())
        else:
            wanted = np.bincount(domains[candidates & labelled], minlength=max(1, table.domain_count(c.key))) > 0
            # Candidates that lack the key (possible with the defaults only) are one more domain among them.
            size = int(wanted.sum()) + bool((candidates & ~labelled).any())
            counted = table.present & labelled & self._included(cycle, c)
            if cycle.state["spread/require"]:
                for other in cycle.state["spread/soft"]:
                    counted &= table.label_column(other.key) >= 0
            sums = np.bincount(domains[counted], weights=self._counter(cycle, c)[counted], minlength=len(wanted))
            per_row = np.where(wanted, sums, 0)[np.maximum(domains, 0)]
        weight = math.log(size + 2)
        return np.where(labelled, per_row * weight + (c.max_skew - 1), 0.0)

    def normalize(self, cycle: Cycle, scores: Ints) -> Ints:
        ignored = cycle.state["spread/ignored"][np.flatnonzero(cycle.feasible)]
        counted = scores[~ignored]
        highest, lowest = (int(counted.max()), int(counted.min())) if len(counted) else (0, 0)
        if highest == 0:
            return np.where(ignored, 0, MAX_NODE_SCORE)
        return np.where(ignored, 0, MAX_NODE_SCORE * (highest + lowest - scores) // highest)

    # --- counting --------------------------------------------------------------------------------------------------------------

    def _counter(self, cycle: Cycle, c: Constraint) -> Ints:
        namespace = cycle.pod.namespace
        matches = selectors.label_predicate(c.selector)
        wants = lambda pod: not pod.terminating and matches(pod.labels)  # noqa: E731
        labels = required_labels(c.selector)
        return cycle.table.counter(("spread", namespace, c.identity), frozenset((namespace,)), labels, wants)

    def _included(self, cycle: Cycle, c: Constraint) -> Mask:
        """Rows that count, after the constraint's node inclusion policies."""
        kind = (self.name, "included", c.honor_affinity, c.honor_taints)
        if not c.honor_affinity and not c.honor_taints:
            return cycle.table.present
        included: Mask = cycle.cached_rows(kind, "static", np.bool_, lambda rows: self._inclusion(cycle, rows, c))
        return included

    @staticmethod
    def _inclusion(cycle: Cycle, rows: Ints, c: Constraint) -> Mask:
        matches = required_predicate(cycle.pod.spec) if c.honor_affinity else None
        tolerations = cycle.pod.spec.get("tolerations")
        out = np.zeros(len(rows), dtype=np.bool_)
        for n, i in enumerate(rows):
            node = cycle.table.rows[i]
            if node is None or (matches is not None and not matches(node.name, node.labels)):
                continue
            out[n] = not c.honor_taints or not untolerated(tolerations, node.taints, ("NoSchedule", "NoExecute"))
        return out

    # --- constraints -----------------------------------------------------------------------------------------------------------

    def _constraints(self, cycle: Cycle, action: str) -> list[Constraint]:
        key = (self.name, action)
        found = cycle.shared.caches.get(key)
        if found is None:
            listed = cycle.pod.spec.get("topologySpreadConstraints") or ()
            found = cycle.shared.caches[key] = [make_constraint(cycle.pod, c) for c in listed if c["whenUnsatisfiable"] == action]
        constraints: list[Constraint] = found
        return constraints

    def _default_constraints(self, cycle: Cycle) -> list[Constraint]:
        owners = cycle.view.owner_selectors(cycle.pod)
        if not owners:
            return []
        merged: Obj = {"matchLabels": {}, "matchExpressions": []}
        for selector in owners:
            merged["matchLabels"] |= selector.get("matchLabels") or {}
            merged["matchExpressions"] += selector.get("matchExpressions") or []
        return [
            make_constraint(cycle.pod, {**c, "labelSelector": merged})
            for c in self.defaults
            if c["whenUnsatisfiable"] == "ScheduleAnyway"
        ]


def make_constraint(pod: PodInfo, raw: Obj) -> Constraint:
    """A constraint of the pod's spec with its matchLabelKeys folded into the selector."""
    selector: Obj = raw.get("labelSelector") or {}
    keys = [k for k in raw.get("matchLabelKeys") or () if k in pod.labels]
    if keys and raw.get("labelSelector") is not None:
        more = [{"key": k, "operator": "In", "values": [pod.labels[k]]} for k in keys]
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or []), *more]}
    nothing = raw.get("labelSelector") is None
    if nothing:
        selector = {"matchExpressions": [{"key": "", "operator": "In", "values": []}]}
    return Constraint(
        key=raw["topologyKey"],
        max_skew=int(raw["maxSkew"]),
        min_domains=int(raw.get("minDomains") or 1),
        selector=selector,
        honor_affinity=(raw.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honor_taints=(raw.get("nodeTaintsPolicy") or "Ignore") == "Honor",
        matches_self=not nothing and selectors.label_predicate(selector)(pod.labels),
        identity=orjson.dumps(selector, option=orjson.OPT_SORT_KEYS),
    )
