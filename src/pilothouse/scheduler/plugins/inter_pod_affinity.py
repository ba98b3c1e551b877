"""InterPodAffinity: pods that want to be near or far from other pods (API reference: PodAffinity, PodAntiAffinity).

Filter: a node's domain must hold a pod that matches all required affinity terms (or the newcomer is the first of its kind and matches
them itself), none that matches an anti-affinity term, and no pod whose own anti-affinity the newcomer would break. Score: weights of
preferred terms, the newcomer's and those of existing pods towards it, summed per domain. All is counted per (term, row) by deltas.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.scheduler.framework import MAX_NODE_SCORE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints, Mask, Row
from pilothouse.scheduler.terms import AffinityTerms, Carried, Term
from pilothouse.scheduler.trial import Trial

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
_NONE = AffinityTerms((), (), ())


@dataclass(slots=True)
class _Required:
    """What the filter needs: the newcomer's required terms with their domains' counts, and existing terms against it."""

    affinity: list[tuple[Term, Ints]]  # per row: pods of its domain that match all affinity terms
    first: bool  # nothing matches anywhere, and the newcomer itself does
    anti: list[tuple[Term, Ints]]
    existing: list[tuple[Carried, Ints]]


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"
    hints_alike = True
    events = (
        ClusterEvent("AssignedPod", "Add"),
        ClusterEvent("AssignedPod", "Delete"),
        ClusterEvent("AssignedPod", "UpdateLabel"),
        ClusterEvent("Node", "Add"),
        ClusterEvent("Node", "UpdateLabel"),
        ClusterEvent("Pod", "UpdateLabel"),
    )

    def __init__(self, args: Obj | None = None) -> None:
        super().__init__(args)
        self.hard_weight = int(self.args.get("hardPodAffinityWeight", 1))
        self.ignore_preferred = bool(self.args.get("ignorePreferredTermsOfExistingPods"))

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource != "AssignedPod" or event.action == "Delete" or new is None or pod.terms is None:
            return True
        # A pod that came can only help those whose affinity asks for such a pod.
        meta = new["metadata"]
        terms = pod.terms.affinity if event.action == "Add" else (*pod.terms.affinity, *pod.terms.anti)
        return any(
            t.selects(m.get("namespace", ""), m.get("labels") or {}, lambda _: {}) or t.namespace_selector != b"null"
            for t in terms
            for m in (meta, (old or new)["metadata"])
        )

    # --- filter ----------------------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> Status | None:
        if cycle.pod.terms is None and not any(cycle.table.terms.kinds.values()):
            return SKIP
        terms = cycle.pod.terms or _NONE
        existing = self._carried(cycle)["anti"]
        if not existing and not terms.affinity and not terms.anti:
            return SKIP
        affinity = [(t, self._of_domain(cycle, t, terms.affinity)) for t in terms.affinity]
        cycle.state[self.name] = _Required(
            affinity,
            first=not any(counts.any() for _, counts in affinity) and _selects_itself(cycle, terms.affinity),
            anti=[(t, self._of_domain(cycle, t, (t,))) for t in terms.anti],
            existing=[(e, domain_sums(cycle, e.term.topology_key, e.weights)) for e in existing],
        )
        return None

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        need: _Required = cycle.state[self.name]
        lonely = np.zeros_like(cycle.feasible)
        for term, counts in need.affinity:
            lonely |= (cycle.table.label_column(term.topology_key) < 0) if need.first else counts == 0
        repelled: Mask = np.zeros_like(lonely)
        for _, counts in need.anti:
            repelled |= counts > 0
        unwanted: Mask = np.zeros_like(lonely)
        for _, counts in need.existing:
            unwanted |= counts > 0
        return (
            Rejected(AFFINITY, lonely, unresolvable=True),
            Rejected(ANTI, repelled & ~lonely),
            Rejected(EXISTING, unwanted & ~lonely & ~repelled),
        )

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        need: _Required = cycle.state[self.name]
        i = node.index

        def domain(term: Term) -> str:
            return f"{term.topology_key}={node.labels.get(term.topology_key, '')}"

        lonely = [t for t, counts in need.affinity if not counts[i]]
        if lonely:
            return f"no pod that it must be near to runs in {', '.join(map(domain, lonely))}"
        anti = [(t, counts[i]) for t, counts in need.anti if counts[i]]
        if anti:
            return "; ".join(f"{n} pods that it must be far from run in {domain(t)}" for t, n in anti)
        existing = [(e.term, counts[i]) for e, counts in need.existing if counts[i]]
        return "; ".join(f"{n} pods that want it far away run in {domain(t)}" for t, n in existing) or None

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        need: _Required = cycle.state[self.name]
        i, gone = trial.row.index, trial.removed.values()
        labels_of = cycle.view.namespace_labels

        def left(counts: Ints, terms: tuple[Term, ...]) -> int:
            return int(counts[i]) - sum(all(t.selects(p.namespace, p.labels, labels_of) for t in terms) for p in gone)

        own = tuple(t for t, _ in need.affinity)
        if any(left(counts, own) <= 0 for _, counts in need.affinity) and not self._first_without(cycle, need, trial):
            return Status(Code.UNRESOLVABLE, (AFFINITY,))
        if any(counts[i] and left(counts, (t,)) > 0 for t, counts in need.anti):
            return Status(Code.UNSCHEDULABLE, (ANTI,))
        for entry, counts in need.existing:
            if counts[i] - sum(p.terms.anti.count(entry.term) for p in gone if p.terms) > 0:
                return Status(Code.UNSCHEDULABLE, (EXISTING,))
        return None

    def _first_without(self, cycle: Cycle, need: _Required, trial: Trial) -> bool:
        """Whether the newcomer would be the first of its kind, once these pods are gone: then it needs no company."""
        node = cycle.table.rows[trial.row.index]
        if node is None or any(t.topology_key not in node.labels for t, _ in need.affinity):
            return False
        if need.first:
            return True
        own = tuple(t for t, _ in need.affinity)
        if not _selects_itself(cycle, own):
            return False
        counted = np.logical_or.reduce([cycle.table.label_column(t.topology_key) >= 0 for t in own])
        labels_of = cycle.view.namespace_labels
        gone = sum(all(t.selects(p.namespace, p.labels, labels_of) for t in own) for p in trial.removed.values())
        return int(self._matching(cycle, own)[counted].sum()) == gone

    # --- score -----------------------------------------------------------------------------------------------------------------

    def pre_score(self, cycle: Cycle) -> Status | None:
        if cycle.pod.terms is None and not any(cycle.table.terms.kinds.values()):
            return SKIP
        own = (cycle.pod.terms or _NONE).liked
        sums = [(self._of_domain(cycle, t, (t,)), weight) for t, weight in own]
        carried = self._carried(cycle)
        kinds = (("affinity", self.hard_weight), ("liked", 1), ("disliked", 1))
        for kind, weight in kinds[:1] if self.ignore_preferred and not own else kinds:
            if weight:
                sums += [(domain_sums(cycle, e.term.topology_key, e.weights), weight) for e in carried[kind]]
        sums = [(counts, weight) for counts, weight in sums if counts.any()]
        cycle.state[self.name + "/score"] = sums
        return None if sums else SKIP

    def score_all(self, cycle: Cycle) -> Ints:
        total = np.zeros(cycle.table.capacity, dtype=np.int64)
        for counts, weight in cycle.state[self.name + "/score"]:
            total += counts * weight
        return total

    def normalize(self, cycle: Cycle, scores: Ints) -> Ints:
        lowest, highest = int(scores.min()), int(scores.max())
        if highest == lowest:
            return np.zeros_like(scores)
        return (MAX_NODE_SCORE * ((scores - lowest) / (highest - lowest))).astype(np.int64)

    # --- counting --------------------------------------------------------------------------------------------------------------

    def _carried(self, cycle: Cycle) -> dict[str, list[Carried]]:
        """Existing pods' terms that mean this pod: kept with its class until a distinct term comes or goes."""
        version = (cycle.table.terms.version, cycle.view.namespaces_version())
        known = cycle.shared.caches.get((self.name, "carried"))
        if known is None or known[0] != version:
            pod = cycle.pod
            found = cycle.table.terms.matching(pod.namespace, pod.labels, cycle.view.namespace_labels)
            known = cycle.shared.caches[self.name, "carried"] = (version, found)
        entries: dict[str, list[Carried]] = known[1]
        return entries

    @staticmethod
    def _of_domain(cycle: Cycle, term: Term, all_of: tuple[Term, ...]) -> Ints:
        """Per row, the pods of its domain that every one of these terms selects."""
        return domain_sums(cycle, term.topology_key, InterPodAffinity._matching(cycle, all_of))

    @staticmethod
    def _matching(cycle: Cycle, all_of: tuple[Term, ...]) -> Ints:
        """Per row, the pods there that every one of these terms selects."""
        labels_of = cycle.view.namespace_labels
        by_name = all(t.namespace_selector == b"null" for t in all_of)
        namespaces = frozenset.intersection(*(t.namespaces for t in all_of)) if by_name else None

        def wants(pod: PodInfo) -> bool:
            return all(t.selects(pod.namespace, pod.labels, labels_of) for t in all_of)

        key = ("affinity", all_of, 0 if by_name else cycle.view.namespaces_version())
        labels = [label for term in all_of for label in term.labels]
        return cycle.table.counter(key, namespaces, labels, wants)


def _selects_itself(cycle: Cycle, terms: tuple[Term, ...]) -> bool:
    pod = cycle.pod
    return all(t.selects(pod.namespace, pod.labels, cycle.view.namespace_labels) for t in terms)


def domain_sums(cycle: Cycle, key: str, per_row: Ints) -> Any:
    """Per row, the sum over all rows of its domain; 0 where a row lacks the label."""
    column = cycle.table.label_column(key)
    if cycle.table.one_each(key):
        return np.where(column >= 0, per_row, 0)
    shifted = column + 1
    sums = np.bincount(shifted, weights=per_row, minlength=1)
    sums[0] = 0
    return sums[shifted].astype(np.int64)
