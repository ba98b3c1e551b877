"""What is kept of a scheduling cycle: references to what it computed anyway, turned into a `Decision` when somebody asks.

Masks and score vectors are by row; `names` says which node each row was at that time. Nothing in a record is ever changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pilothouse.scheduler.decision import Decision, FilterVerdict
from pilothouse.scheduler.framework import Code, Preemption, Rejected, Status
from pilothouse.scheduler.laps import Lap
from pilothouse.scheduler.table import Ints, Mask

#: (plugin name, what it removed)
Rejections = list[tuple[str, Rejected]]


@dataclass(slots=True)  # frozen ones take four times as long to make
class Record:
    """One cycle. `row` is the choice or -1; `weighted` are the scores of the `feasible` rows by plugin, where there was a choice.

    Little is kept: what is would crowd the processor's cache otherwise, and slow the next decision down.
    """

    pod: str
    names: Sequence[str]
    nodes_total: int
    row: int
    rejections: Rejections
    weighted: list[tuple[str, Ints]]
    feasible: Mask
    status: Status | None
    preemption: Preemption | None
    laps: Sequence[Lap] = ()

    @property
    def node(self) -> str | None:
        return self.names[self.row] if self.row >= 0 else None

    def nbytes(self) -> int:
        """Memory that this record alone holds, roughly. Vectors that nobody may write are shared by many records."""
        out = 1024 + self.feasible.nbytes
        for _, vector in self.weighted:
            if vector.flags.writeable:
                out += vector.nbytes
        for _, r in self.rejections:
            out += r.rows.nbytes
        return out

    @property
    def plugins(self) -> frozenset[str]:
        """The plugins whose verdict stands between this pod and a node."""
        names = {name for name, _ in self.rejections}
        if self.status is not None and self.status.plugin:
            names.add(self.status.plugin)
        return frozenset(names)

    def decision(self) -> Decision:
        """The record by node names."""
        scores: dict[str, dict[str, int]] = {}
        totals: dict[str, int] = {}
        if self.weighted:
            finalists = self._names(np.flatnonzero(self.feasible))
            scores = {plugin: dict(zip(finalists, map(int, vector), strict=True)) for plugin, vector in self.weighted}
            totals = dict(zip(finalists, map(int, np.sum([v for _, v in self.weighted], axis=0)), strict=True))
        status, preemption = self.status, self.preemption
        return Decision(
            self.pod,
            self.node,
            self.nodes_total,
            tuple(FilterVerdict(p, r.reason, self._names(np.flatnonzero(r.rows)), r.unresolvable) for p, r in self.rejections),
            scores,
            totals,
            "" if status is None else condition_reason(status),
            status_message(status),
            self.plugins,
            preemption.node if preemption else "",
            tuple(p.key for p in preemption.victims) if preemption else (),
        )

    def _names(self, rows: Ints) -> tuple[str, ...]:
        return tuple(self.names[i] for i in rows)


def condition_reason(status: Status) -> str:
    """The PodScheduled condition's reason for a failure."""
    if status.plugin == "SchedulingGates":
        return "SchedulingGated"
    return "SchedulerError" if status.code is Code.ERROR else "Unschedulable"


def status_message(status: Status | None) -> str:
    """The text of a failure as events and conditions carry it."""
    if status is None:
        return ""
    return ", ".join(status.reasons)
