"""NodeResourcesBalancedAllocation: prefer nodes whose resources stay in proportion when the pod is added.

Score: 50 + (50 + b(with the pod) - b(without it)) / 2, where b is (1 - sigma) * 100 and sigma the standard deviation of the used
fractions. A pod without requests leaves the balance as it is, so the plugin skips it.
"""

from __future__ import annotations

import numpy as np

from pilothouse.scheduler.framework import MAX_NODE_SCORE, SKIP, Cycle, Plugin, Status
from pilothouse.scheduler.table import Floats, Ints

_NATIVE = ("cpu", "memory", "ephemeral-storage")


class NodeResourcesBalancedAllocation(Plugin):
    name = "NodeResourcesBalancedAllocation"

    def __init__(self, args: dict[str, object] | None = None) -> None:
        super().__init__(args)
        listed = self.args.get("resources") or [{"name": "cpu"}, {"name": "memory"}]
        self.resources = [r["name"] for r in listed]

    def pre_score(self, cycle: Cycle) -> Status | None:
        return None if any(cycle.pod.requests.get(r) for r in self.resources) else SKIP

    def score_all(self, cycle: Cycle) -> Ints:
        scores: Ints = cycle.cached_rows(
            self.name, "both", np.int64, lambda rows: self._scores(cycle, rows), lambda i: self._score(cycle, i)
        )
        return scores

    def _score(self, cycle: Cycle, i: int) -> int:
        """The same of one row, in plain numbers, for the usual two resources."""
        if len(self.resources) != 2 or any(r not in _NATIVE for r in self.resources):
            return int(self._scores(cycle, np.array([i]))[0])
        before, after = [], []
        for resource in self.resources:
            allocatable = cycle.table.resource_column(resource).data.item(i)
            if allocatable <= 0:
                return 50 + 50 // 2
            requested = cycle.table.requested[resource].data.item(i)
            before.append(min(requested / allocatable, 1.0))
            after.append(min((requested + cycle.pod.requests.get(resource, 0)) / allocatable, 1.0))
        without = int((1 - abs(before[0] - before[1]) / 2) * MAX_NODE_SCORE)
        with_pod = int((1 - abs(after[0] - after[1]) / 2) * MAX_NODE_SCORE)
        return 50 + (50 + with_pod - without) // 2

    def _scores(self, cycle: Cycle, rows: Ints) -> Ints:
        before, after = [], []
        for resource in self.resources:
            demand = cycle.pod.requests.get(resource, 0)
            if resource not in _NATIVE and not demand:
                continue
            allocatable = cycle.table.resource_column(resource).data[rows]
            requested = cycle.table.requested[resource].data[rows]
            before.append(_fraction(requested, allocatable))
            after.append(_fraction(requested + demand, allocatable))
        with_pod, without = _balance(after), _balance(before)
        return np.asarray(50 + (50 + with_pod - without) // 2, dtype=np.int64)


def _fraction(requested: Ints, allocatable: Ints) -> Floats:
    part = requested / np.maximum(allocatable, 1)
    return np.where(allocatable > 0, np.minimum(part, 1.0), np.nan)


def _balance(fractions: list[Floats]) -> Ints:
    """(1 - sigma) * 100 per row; resources that a node does not have are left out."""
    if len(fractions) == 2:
        half = np.abs(fractions[0] - fractions[1]) / 2
        return ((1 - np.where(np.isnan(half), 0.0, half)) * MAX_NODE_SCORE).astype(np.int64)
    values = np.stack(fractions)
    counted = ~np.isnan(values)
    n = counted.sum(axis=0)
    clean = np.where(counted, values, 0.0)
    mean = clean.sum(axis=0) / np.maximum(n, 1)
    variance = np.where(counted, (clean - mean) ** 2, 0.0).sum(axis=0) / np.maximum(n, 1)
    sigma = np.where(n >= 2, np.sqrt(variance), 0.0)
    return ((1 - np.nan_to_num(sigma)) * MAX_NODE_SCORE).astype(np.int64)
