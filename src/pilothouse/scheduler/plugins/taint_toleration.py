"""TaintToleration: NoSchedule and NoExecute taints keep pods out, PreferNoSchedule ones make a node less liked.

Taints are interned as whole sets, so a pod's tolerations are compared once per distinct set and looked up for all rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.framework import MAX_NODE_SCORE, ClusterEvent, Cycle, Obj, Plugin, Rejected, default_normalize
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints, Row
from pilothouse.scheduler.tolerations import untolerated

HARD = ("NoSchedule", "NoExecute")
SOFT = ("PreferNoSchedule",)


class TaintToleration(Plugin):
    name = "TaintToleration"
    hints_alike = True
    events = (ClusterEvent("Node", "Add"), ClusterEvent("Node", "UpdateTaint"), ClusterEvent("Pod", "UpdateTolerations"))

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource != "Node" or new is None:
            return True
        taints = [(t["key"], t.get("value") or "", t["effect"]) for t in (new.get("spec") or {}).get("taints") or ()]
        return not untolerated(pod.spec.get("tolerations"), taints, HARD)

    def uniform(self, cycle: Cycle) -> int | None:
        return MAX_NODE_SCORE if cycle.table.taint_effects.isdisjoint(SOFT) else None

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        if cycle.table.taint_effects.isdisjoint(HARD):
            return ()
        return (Rejected("node(s) had untolerated taint(s)", self._counts(cycle, HARD) > 0, unresolvable=True),)

    def score_all(self, cycle: Cycle) -> Ints:
        return self._counts(cycle, SOFT)

    def normalize(self, cycle: Cycle, scores: Ints) -> Ints:
        return default_normalize(scores, reverse=True)

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        left = [t for t in node.taints if untolerated(cycle.pod.spec.get("tolerations"), (t,), HARD)]
        told = (f"{key}={value}:{effect}" if value else f"{key}:{effect}" for key, value, effect in left)
        return f"tolerate {', '.join(told)}" if left else None

    def _counts(self, cycle: Cycle, effects: tuple[str, ...]) -> Ints:
        """Per row how many taints of these effects are not tolerated."""
        table = cycle.table
        known: list[int] = []  # by the number of a set of taints
        tolerations = _relevant(cycle.pod, effects)

        def counted() -> list[int]:
            for taints in table.taint_sets[len(known) :]:
                known.append(untolerated(tolerations, taints, effects))
            return known

        counts: Ints = cycle.cached_rows(
            (self.name, effects), "static", np.int64,
            lambda rows: np.array(counted(), dtype=np.int64)[table.taint_set.data[rows]],
            lambda i: counted()[table.taint_set.data.item(i)],
        )  # fmt: skip
        return counts


def _relevant(pod: PodInfo, effects: tuple[str, ...]) -> list[dict[str, object]]:
    every = pod.spec.get("tolerations") or ()
    if effects == SOFT:
        return [t for t in every if not t.get("effect") or t["effect"] == "PreferNoSchedule"]
    return list(every)
