"""NodeName: a pod that names its node fits only there."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, ClusterEvent, Cycle, Obj, Plugin, Rejected
from pilothouse.scheduler.podinfo import PodInfo


class NodeName(Plugin):
    name = "NodeName"
    hints_alike = True
    events = (ClusterEvent("Node", "Add"),)

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return NOWHERE if pod.node_name else IDLE_FILTER

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        return new is not None and pod.node_name == new["metadata"]["name"]

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        wanted = cycle.pod.node_name
        if not wanted:
            return ()
        others = cycle.table.present.copy()
        row = cycle.table.by_name.get(wanted)
        if row is not None:
            others[row.index] = False
        return (Rejected("node(s) didn't match the requested node name", others, unresolvable=True),)
