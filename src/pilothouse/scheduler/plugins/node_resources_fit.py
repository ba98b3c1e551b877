"""NodeResourcesFit: a node must have room for the pod's requests; the emptier it would stay, the better (LeastAllocated).

Arguments (NodeResourcesFitArgs): `scoringStrategy.type` LeastAllocated, MostAllocated or RequestedToCapacityRatio with its resources,
`ignoredResources` and `ignoredResourceGroups`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pilothouse.scheduler.devices import DEVICE_CLASSES
from pilothouse.scheduler.devices.extended import classes_by_resource, extended_resources, is_extended
from pilothouse.scheduler.framework import MAX_NODE_SCORE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.podinfo import PodInfo, amount_text, parse_requests
from pilothouse.scheduler.table import Ints, NodeTable, Row
from pilothouse.scheduler.trial import Trial

_NATIVE = ("cpu", "memory", "ephemeral-storage")


class NodeResourcesFit(Plugin):
    name = "NodeResourcesFit"
    refit_is_local = True
    hints_alike = True
    events = (
        ClusterEvent("AssignedPod", "Delete"),
        ClusterEvent("AssignedPod", "UpdateScaleDown"),
        ClusterEvent("Node", "Add"),
        ClusterEvent("Node", "UpdateAllocatable"),
        ClusterEvent("Pod", "UpdateScaleDown"),
    )

    def __init__(self, args: dict[str, object] | None = None) -> None:
        super().__init__(args)
        strategy = self.args.get("scoringStrategy") or {}
        self.strategy: str = strategy.get("type") or "LeastAllocated"
        listed = strategy.get("resources") or [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]
        self.weights = {r["name"]: int(r.get("weight") or 1) for r in listed}
        shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or [
            {"utilization": 0, "score": 0},
            {"utilization": 100, "score": 10},
        ]
        self.shape = [(int(p.get("utilization") or 0), int(p.get("score") or 0) * MAX_NODE_SCORE // 10) for p in shape]
        self.ignored = frozenset(self.args.get("ignoredResources") or ())
        self.ignored_groups = frozenset(self.args.get("ignoredResourceGroups") or ())

    def needs(self, pod: PodInfo) -> Sequence[str]:
        return (DEVICE_CLASSES,) if extended_resources(pod) else ()

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource != "Node" or new is None:
            return True
        room = parse_requests((new.get("status") or {}).get("allocatable"))
        if old is None:
            return all(room.get(r, 0) >= v or is_extended(r) for r, v in self._wanted(pod))
        before = parse_requests((old.get("status") or {}).get("allocatable"))
        grown = {r for r, v in room.items() if v > before.get(r, 0)}
        return "pods" in grown or any(r in grown for r, _ in self._wanted(pod))

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        wanted = self._wanted(cycle.pod)
        devices = _of_devices(cycle)
        bits = cycle.cached_rows(
            (self.name, "fit", devices),
            "both",
            np.int64,
            lambda rows: _shortages(cycle.table, wanted, devices, rows),
            lambda i: _shortage(cycle.table, wanted, devices, i),
        )
        if not bits.any():
            return ()
        found = int(np.bitwise_or.reduce(bits))
        out = [Rejected("Too many pods", (bits & 1) != 0)] if found & 1 else []
        for n, (resource, _) in enumerate(wanted):
            short, hopeless = 2 << 2 * n, 4 << 2 * n
            if found & short:
                out.append(Rejected(f"Insufficient {resource}", (bits & (short | hopeless)) == short))
            if found & hopeless:
                out.append(Rejected(f"Insufficient {resource}", (bits & hopeless) != 0, unresolvable=True))
        return out

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        table, i = cycle.table, trial.row.index
        short = []
        if table.pod_count.data[i] - len(trial.removed) + 1 > table.allowed_pods.data[i]:
            short.append("Too many pods")
        for resource, demand in self._wanted(cycle.pod):
            allocatable = table.resource_column(resource).data[i]
            left = allocatable - table.requested[resource].data[i] + trial.freed.get(resource, 0)
            if demand > left and (allocatable > 0 or resource not in _of_devices(cycle)):
                short.append(f"Insufficient {resource}")
        return Status(Code.UNSCHEDULABLE, tuple(short)) if short else None

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        table, i = cycle.table, node.index
        told = []
        if table.pod_count.data[i] + 1 > table.allowed_pods.data[i]:
            told.append(f"all {table.allowed_pods.data[i]} places for pods are taken")
        for resource, demand in self._wanted(cycle.pod):
            total = int(table.resource_column(resource).data[i])
            free = total - int(table.requested[resource].data[i])
            if demand > free:
                asked, has, of, lacking = (amount_text(resource, v) for v in (demand, free, total, demand - free))
                told.append(f"{resource}: {lacking} short (asks for {asked}, {has} of {of} free)")
        return "; ".join(told) or None

    def _wanted(self, pod: PodInfo) -> list[tuple[str, int]]:
        return [
            (r, v)
            for r, v in pod.requests.items()
            if v > 0 and r not in self.ignored and r.partition("/")[0] not in self.ignored_groups
        ]

    def score_all(self, cycle: Cycle) -> Ints:
        scores: Ints = cycle.cached_rows(
            (self.name, "score"), "both", np.int64, lambda rows: self._scores(cycle, rows), lambda i: self._score(cycle, i)
        )
        return scores

    def _scores(self, cycle: Cycle, rows: Ints) -> Ints:
        total = np.zeros(len(rows), dtype=np.int64)
        weights = np.zeros(len(rows), dtype=np.int64)
        for resource, weight in self.weights.items():
            demand = cycle.pod.scored.get(resource, 0)
            if resource not in _NATIVE and not demand:
                continue
            allocatable = cycle.table.resource_column(resource).data[rows]
            in_use = cycle.table.scored.get(resource) or cycle.table.requested[resource]
            requested = in_use.data[rows] + demand
            counted = allocatable > 0
            total += np.where(counted, self._one(allocatable, requested) * weight, 0)
            weights += np.where(counted, weight, 0)
        if self.strategy == "RequestedToCapacityRatio":
            return np.where(weights > 0, np.round(total / np.maximum(weights, 1)), 0).astype(np.int64)
        return np.where(weights > 0, total // np.maximum(weights, 1), 0)

    def _score(self, cycle: Cycle, i: int) -> int:
        """The same of one row, in plain numbers."""
        if self.strategy == "RequestedToCapacityRatio":
            return int(self._scores(cycle, np.array([i]))[0])
        total = weights = 0
        table, scored = cycle.table, cycle.pod.scored
        for resource, weight in self.weights.items():
            demand = scored.get(resource, 0)
            if resource not in _NATIVE and not demand:
                continue
            allocatable = table.resource_column(resource).data.item(i)
            if allocatable <= 0:
                continue
            requested = (table.scored.get(resource) or table.requested[resource]).data.item(i) + demand
            if self.strategy == "MostAllocated":
                total += min(requested, allocatable) * MAX_NODE_SCORE // allocatable * weight
            elif requested <= allocatable:
                total += (allocatable - requested) * MAX_NODE_SCORE // allocatable * weight
            weights += weight
        return total // weights if weights else 0

    def _one(self, allocatable: Ints, requested: Ints) -> Ints:
        safe = np.maximum(allocatable, 1)
        if self.strategy == "MostAllocated":
            return np.minimum(requested, allocatable) * MAX_NODE_SCORE // safe
        if self.strategy == "RequestedToCapacityRatio":
            used = np.where(requested > allocatable, 100, 100 - (allocatable - requested) * 100 // safe)
            return np.interp(used, [u for u, _ in self.shape], [s for _, s in self.shape]).astype(np.int64)
        return np.where(requested > allocatable, 0, (allocatable - requested) * MAX_NODE_SCORE // safe)

    def pre_score(self, cycle: Cycle) -> Status | None:
        return None if self.weights else SKIP


def _of_devices(cycle: Cycle) -> frozenset[str]:
    """The extended resources of the pod that nodes need not have, because a device class stands for them."""
    asked = extended_resources(cycle.pod)
    classes = classes_by_resource(cycle.view.stock) if asked else ()
    return frozenset(r for r in asked if r in classes)


def _shortage(table: NodeTable, wanted: list[tuple[str, int]], devices: frozenset[str], i: int) -> int:
    """The bits of one row, in plain numbers."""
    if not table.present.item(i):
        return 0
    bits = int(table.pod_count.data.item(i) + 1 > table.allowed_pods.data.item(i))
    for n, (resource, demand) in enumerate(wanted):
        allocatable = table.resource_column(resource).data.item(i)
        left = allocatable - table.requested[resource].data.item(i)
        if allocatable <= 0 and resource in devices:
            continue
        bits |= (left < demand) << (2 * n + 1) | (allocatable < demand) << (2 * n + 2)
    return bits


def _shortages(table: NodeTable, wanted: list[tuple[str, int]], devices: frozenset[str], rows: Ints) -> Ints:
    """Per row a bit set: bit 0 for no pod slot, then per resource one bit for too little left and one for too little ever."""
    bits = (table.pod_count.data[rows] + 1 > table.allowed_pods.data[rows]).astype(np.int64)
    for n, (resource, demand) in enumerate(wanted):
        allocatable = table.resource_column(resource).data[rows]
        left = allocatable - table.requested[resource].data[rows]
        counted = (allocatable > 0).astype(np.int64) if resource in devices else 1
        bits |= (left < demand) * counted << (2 * n + 1)
        bits |= (allocatable < demand) * counted << (2 * n + 2)
    bits[~table.present[rows]] = 0
    return bits
