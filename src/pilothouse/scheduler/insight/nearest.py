"""What stands between a waiting pod and its nodes: each filter is asked about each node, not only those that others left over.

The nearest node is the one with the fewest obstacles; among equals one where removing pods could help, then the one that lacks the
smallest share of what the pod asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilothouse.scheduler.framework import Cycle, Plugin, Rejected
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.schedule import Outcome, Snapshot, pre_filter, refused
from pilothouse.scheduler.table import Floats

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why one filter refuses one node, and what would have to change."""

    plugin: str
    reason: str
    unresolvable: bool
    remedy: str


@dataclass(frozen=True, slots=True)
class Near:
    """A node with everything that keeps the pod from it."""

    node: str
    obstacles: tuple[Obstacle, ...]


def nearest(snapshot: Snapshot, pod: PodInfo, profile: Profile, limit: int = SHOWN) -> list[Near]:
    """The nodes that come nearest to taking a pod, as the cluster is now. None where the pod is refused before nodes are looked at."""
    cycle = Cycle(pod, snapshot.table, snapshot.view, snapshot.class_of(profile.name, pod))
    outcome = Outcome(cycle)
    skipped = pre_filter(cycle, profile, outcome)
    if outcome.status is not None:
        return []
    cycle.feasible = cycle.table.present.copy()
    cycle.filters = [p for p in profile.filters if p.name not in skipped]
    by_name = {p.name: p for p in profile.plugins}
    found = [(by_name[name], r) for name, r in outcome.rejections]
    found += [(plugin, r) for plugin in cycle.filters for r in refused(plugin, cycle)]
    counts = np.zeros(cycle.table.capacity, dtype=np.int64)
    hopeless = np.zeros_like(counts)
    for _, r in found:
        counts += r.rows
        hopeless += r.rows & r.unresolvable
    rows = np.flatnonzero(cycle.table.present)
    order = np.lexsort((shortage(cycle)[rows], hopeless[rows], counts[rows]))[:limit]
    return [Near(cycle.table.names()[i], _obstacles(cycle, found, int(i))) for i in rows[order]]


def _obstacles(cycle: Cycle, found: list[tuple[Plugin, Rejected]], index: int) -> tuple[Obstacle, ...]:
    """What keeps a pod from one row, a plugin at a time."""
    here: dict[str, tuple[Plugin, list[Rejected]]] = {}
    for plugin, r in found:
        if r.rows[index]:
            here.setdefault(plugin.name, (plugin, []))[1].append(r)
    return tuple(
        Obstacle(name, ", ".join(dict.fromkeys(r.reason for r in listed)), any(r.unresolvable for r in listed), _remedy(plugin, cycle, index))
        for name, (plugin, listed) in here.items()
    )  # fmt: skip


def _remedy(plugin: Plugin, cycle: Cycle, index: int) -> str:
    row = cycle.table.rows[index]
    assert row is not None
    return plugin.remedy(cycle, row) or ""


def shortage(cycle: Cycle) -> Floats:
    """Per row, the sum over resources of the share of the pod's request that is not free."""
    table = cycle.table
    total = np.zeros(table.capacity, dtype=np.float64)
    for resource, demand in cycle.pod.requests.items():
        if demand > 0:
            free = table.resource_column(resource).data - table.requested[resource].data
            total += np.clip(demand - free, 0, None) / demand
    return total
