"""NodeAffinity: node selectors and required node affinity filter, preferred terms score by their weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pilothouse.api.nodeselectors import matches_term, preferred_terms, required_node_names, required_predicate
from pilothouse.scheduler.framework import (
    IDLE_FILTER,
    IDLE_SCORE,
    NOWHERE,
    SKIP,
    ClusterEvent,
    Code,
    Cycle,
    Obj,
    Plugin,
    PreFilterResult,
    Rejected,
    Status,
    default_normalize,
)
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints, Mask, Row

REASON = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity(Plugin):
    name = "NodeAffinity"
    hints_alike = True
    events = (ClusterEvent("Node", "Add"), ClusterEvent("Node", "UpdateLabel"))

    def __init__(self, args: dict[str, Any] | None = None) -> None:
        super().__init__(args)
        #: `addedAffinity` of the configuration: a NodeAffinity that every pod of the profile must satisfy too.
        self.added = {"affinity": {"nodeAffinity": self.args["addedAffinity"]}} if self.args.get("addedAffinity") else None

    def idle(self, pod: PodInfo) -> frozenset[str]:
        filters = self.added is not None or required_predicate(pod.spec) is not None
        scores = bool(preferred_terms(pod.spec) or self._added_terms())
        return (NOWHERE if filters else IDLE_FILTER) | (NOWHERE if scores else IDLE_SCORE)

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if new is None or not self._wants(pod, new):
            return False
        return old is None or not self._wants(pod, old)

    def _wants(self, pod: PodInfo, node: Obj) -> bool:
        name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
        wishes = (required_predicate(pod.spec), None if self.added is None else required_predicate(self.added))
        return all(wish is None or wish(name, labels) for wish in wishes)

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | Status | None:
        spec = cycle.pod.spec
        if self.added is None and required_predicate(spec) is None:
            return SKIP
        names = required_node_names(spec)
        if names is None:
            return None
        if not names:
            return Status(Code.UNRESOLVABLE, ("pod affinity terms conflict",))
        return PreFilterResult(names)

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        out = []
        if self.added is not None:
            enforced = cycle.cached_rows(
                (self.name, "added"), "static", np.bool_, lambda rows: self._refused(cycle, rows, self.added or {})
            )
            out.append(Rejected("node(s) didn't match scheduler-enforced node affinity", enforced, unresolvable=True))
        own = cycle.cached_rows(
            (self.name, "required"), "static", np.bool_, lambda rows: self._refused(cycle, rows, cycle.pod.spec)
        )
        out.append(Rejected(REASON, own, unresolvable=True))
        return out

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        lacking = [f"{k}={v}" for k, v in (cycle.pod.spec.get("nodeSelector") or {}).items() if node.labels.get(k) != v]
        if lacking:
            return f"the node lacks {', '.join(lacking)}"
        return "no term of the required node affinity matches the node"

    def pre_score(self, cycle: Cycle) -> Status | None:
        return None if preferred_terms(cycle.pod.spec) or self._added_terms() else SKIP

    def score_all(self, cycle: Cycle) -> Ints:
        scores: Ints = cycle.cached_rows((self.name, "preferred"), "static", np.int64, lambda rows: self._weights(cycle, rows))
        return scores

    def normalize(self, cycle: Cycle, scores: Ints) -> Ints:
        return default_normalize(scores)

    def _added_terms(self) -> list[dict[str, Any]]:
        return preferred_terms(self.added) if self.added else []

    @staticmethod
    def _refused(cycle: Cycle, rows: Ints, spec: dict[str, Any]) -> Mask:
        matches = required_predicate(spec)
        nodes = [cycle.table.rows[i] for i in rows]
        return np.array([matches is not None and n is not None and not matches(n.name, n.labels) for n in nodes], dtype=np.bool_)

    def _weights(self, cycle: Cycle, rows: Ints) -> Ints:
        terms = [*self._added_terms(), *preferred_terms(cycle.pod.spec)]
        nodes = [cycle.table.rows[i] for i in rows]
        return np.array(
            [
                0 if n is None else sum(t["weight"] for t in terms if matches_term(t["preference"], n.name, n.labels))
                for n in nodes
            ],
            dtype=np.int64,
        )
