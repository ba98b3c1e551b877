"""Pod affinity terms, and the index of those that pods on nodes carry (API reference: PodAffinityTerm).

A term's identity is what it selects and its topology key, so equal terms of a thousand pods are one entry with one column: per row
the sum of the weights of the pods there that carry it. What existing pods want of a newcomer is then one column per distinct term.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from pilothouse.api import selectors
from pilothouse.scheduler.counters import Label, required_labels

Obj = dict[str, Any]
Labels = dict[str, str]
NamespaceLabels = Callable[[str], Labels]


@dataclass(frozen=True, slots=True)
class Term:
    """Pods by namespace and labels, counted per value of a node label. Equal when they select alike."""

    topology_key: str
    namespaces: frozenset[str]
    namespace_selector: bytes
    selector: bytes
    #: Some that every selected pod has.
    labels: tuple[Label, ...] = field(compare=False, repr=False)
    _labels: Callable[[Labels], bool] = field(compare=False, repr=False)
    _namespace: Callable[[Labels], bool] | None = field(compare=False, repr=False)

    def selects(self, namespace: str, labels: Labels, namespace_labels: NamespaceLabels) -> bool:
        """Whether a pod of these labels in this namespace is meant."""
        if namespace not in self.namespaces and not (self._namespace and self._namespace(namespace_labels(namespace))):
            return False
        return self._labels(labels)


@dataclass(frozen=True, slots=True)
class AffinityTerms:
    """A pod's inter-pod affinity: what it requires, and what it likes (positive weight) or not (negative)."""

    affinity: tuple[Term, ...]
    anti: tuple[Term, ...]
    liked: tuple[tuple[Term, int], ...]

    def carried(self) -> list[tuple[str, Term, int]]:
        """(kind, term, weight) as the index counts them for pods on nodes."""
        out = [("anti", t, 1) for t in self.anti] + [("affinity", t, 1) for t in self.affinity]
        return out + [("liked" if w > 0 else "disliked", t, w) for t, w in self.liked]


def _nothing(labels: Labels) -> bool:
    return False


def make_term(raw: Obj, own_namespace: str) -> Term:
    """A PodAffinityTerm. Without namespaces and namespace selector it means the pod's own namespace; without selector, no pod."""
    selector, by_labels = raw.get("labelSelector"), raw.get("namespaceSelector")
    names = frozenset(raw.get("namespaces") or (() if by_labels is not None else (own_namespace,)))
    return Term(
        raw["topologyKey"],
        names,
        orjson.dumps(by_labels, option=orjson.OPT_SORT_KEYS),
        orjson.dumps(selector, option=orjson.OPT_SORT_KEYS),
        required_labels(selector),
        _nothing if selector is None else selectors.label_predicate(selector),
        None if by_labels is None else selectors.label_predicate(by_labels),
    )


@functools.lru_cache(maxsize=4096)
def _parse(encoded: bytes, namespace: str) -> AffinityTerms:
    liking, disliking = orjson.loads(encoded)

    def required(part: Obj | None) -> tuple[Term, ...]:
        return tuple(make_term(t, namespace) for t in (part or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ())

    def preferred(part: Obj | None, sign: int) -> list[tuple[Term, int]]:
        listed = (part or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        return [(make_term(t["podAffinityTerm"], namespace), sign * t["weight"]) for t in listed if t["weight"]]

    return AffinityTerms(required(liking), required(disliking), (*preferred(liking, 1), *preferred(disliking, -1)))


def affinity_terms(spec: Obj, namespace: str) -> AffinityTerms | None:
    """The pod's inter-pod affinity, parsed once per distinct text; None if it has none."""
    affinity = spec.get("affinity")
    if not affinity:
        return None
    liking, disliking = affinity.get("podAffinity"), affinity.get("podAntiAffinity")
    return _parse(orjson.dumps([liking, disliking]), namespace) if liking or disliking else None


class Carried:
    """One distinct term of one kind: per row the summed weight of the pods that carry it."""

    __slots__ = ("term", "uses", "weights")

    def __init__(self, term: Term, capacity: int) -> None:
        self.term = term
        self.weights = np.zeros(capacity, dtype=np.int64)
        self.uses = 0


class TermIndex:
    """Terms of the pods on nodes, by kind: affinity and anti (required), liked and disliked (preferred)."""

    def __init__(self) -> None:
        self.kinds: dict[str, dict[Term, Carried]] = {"anti": {}, "affinity": {}, "liked": {}, "disliked": {}}
        #: Moves whenever a distinct term comes or goes.
        self.version = 0

    def count(self, row: int, terms: AffinityTerms, sign: int, capacity: int) -> None:
        """A pod that carries these terms came to a row (sign 1) or left it (-1)."""
        for kind, term, weight in terms.carried():
            known = self.kinds[kind]
            entry = known.get(term)
            if entry is None:
                entry = known[term] = Carried(term, capacity)
                self.version += 1
            entry.uses += sign
            entry.weights[row] += sign * weight
            if not entry.uses:
                del known[term]
                self.version += 1

    def grow(self, capacity: int) -> None:
        for known in self.kinds.values():
            for entry in known.values():
                bigger = np.zeros(capacity, dtype=np.int64)
                bigger[: len(entry.weights)] = entry.weights
                entry.weights = bigger

    def matching(self, namespace: str, labels: Labels, namespace_labels: NamespaceLabels) -> dict[str, list[Carried]]:
        """By kind, the entries whose term selects such a pod."""
        return {
            kind: [e for e in known.values() if e.term.selects(namespace, labels, namespace_labels)]
            for kind, known in self.kinds.items()
        }
