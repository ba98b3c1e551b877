"""How many pods of each row match a selector, kept by deltas: what topology spread and inter-pod affinity count with.

Most selectors ask for at least one label by its value. A counter hears only of pods that have that label, and is first filled from those pods
alone: with thousands of applications, each with a selector of its own, a pod concerns its own application's counters and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pilothouse.scheduler.columns import Column

if TYPE_CHECKING:
    from pilothouse.scheduler.podinfo import PodInfo

Label = tuple[str, str]
#: A namespace (None: all) and a label that pods must have (None: none in particular).
_Group = tuple[str | None, Label | None]
_NOBODY: dict[str, tuple[int, PodInfo]] = {}


def required_labels(selector: dict[str, Any] | None) -> tuple[Label, ...]:
    """The labels that every pod of a selector has."""
    found = tuple(((selector or {}).get("matchLabels") or {}).items())
    listed = ((selector or {}).get("matchExpressions")) or ()
    return found + tuple((e["key"], e["values"][0]) for e in listed if e["operator"] == "In" and len(e.get("values") or ()) == 1)


class PodCounter:
    """One counter. `wants` says which pods count; `groups` which it hears of."""

    __slots__ = ("counts", "groups", "wants")

    def __init__(self, groups: tuple[_Group, ...], wants: Callable[[PodInfo], bool], capacity: int) -> None:
        self.groups = groups
        self.wants = wants
        self.counts = Column(capacity)


class PodCounters:
    """The counters of a table, and its pods by label."""

    #: Counters kept at most; the least recently used go first.
    LIMIT = 512

    def __init__(self) -> None:
        self.counters: dict[Hashable, PodCounter] = {}  # in the order of their last use
        self._groups: dict[_Group, list[PodCounter]] = {}
        self._labelled: dict[tuple[str, Label], dict[str, tuple[int, PodInfo]]] = {}

    def account(self, row: int, pod: PodInfo, sign: int) -> None:
        """A pod came to a row (sign 1) or left it (-1)."""
        for label in pod.labels.items():
            place = (pod.namespace, label)
            if sign > 0:
                self._labelled.setdefault(place, {})[pod.key] = (row, pod)
            else:
                there = self._labelled[place]
                del there[pod.key]
                if not there:
                    del self._labelled[place]
        for counter in self._hearing_of(pod):
            if counter.wants(pod):
                counter.counts.data[row] += sign

    def _hearing_of(self, pod: PodInfo) -> Iterator[PodCounter]:
        groups = self._groups
        for namespace in (pod.namespace, None):
            yield from groups.get((namespace, None), ())
            for label in pod.labels.items():
                yield from groups.get((namespace, label), ())

    def get(self, key: Hashable) -> PodCounter | None:
        """A counter that is kept; it is the most recently used then."""
        counter = self.counters.pop(key, None)
        if counter is not None:
            self.counters[key] = counter
        return counter

    def make(self, key: Hashable, namespaces: frozenset[str] | None, labels: Iterable[Label], wants: Callable[[PodInfo], bool],
             capacity: int, everybody: Callable[[], Iterable[tuple[int, PodInfo]]]) -> PodCounter:  # fmt: skip
        """A new counter of the pods of these namespaces (None: any) that have these labels and are wanted. `everybody`: all pods."""
        if len(self.counters) >= self.LIMIT:
            self._drop(next(iter(self.counters)))
        label = min(labels, key=lambda each: self._crowd(namespaces, each), default=None)
        groups: tuple[_Group, ...] = ((None, label),) if namespaces is None else tuple((n, label) for n in namespaces)
        counter = self.counters[key] = PodCounter(groups, wants, capacity)
        for group in groups:
            self._groups.setdefault(group, []).append(counter)
        for row, pod in everybody() if namespaces is None or label is None else self._having(namespaces, label):
            if (namespaces is None or pod.namespace in namespaces) and wants(pod):
                counter.counts.data[row] += 1
        return counter

    def _crowd(self, namespaces: frozenset[str] | None, label: Label) -> int:
        return sum(len(self._labelled.get((n, label), _NOBODY)) for n in namespaces or ())

    def _having(self, namespaces: frozenset[str], label: Label) -> Iterator[tuple[int, PodInfo]]:
        for namespace in namespaces:
            yield from self._labelled.get((namespace, label), _NOBODY).values()

    def _drop(self, key: Hashable) -> None:
        counter = self.counters.pop(key)
        for group in counter.groups:
            hearing = self._groups[group]
            hearing.remove(counter)
            if not hearing:
                del self._groups[group]

    def grow(self, capacity: int) -> None:
        for counter in self.counters.values():
            counter.counts.grow(capacity)
