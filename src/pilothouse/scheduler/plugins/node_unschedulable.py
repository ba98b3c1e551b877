"""NodeUnschedulable: cordoned nodes take no pods, but for those that tolerate the cordon's taint."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, ClusterEvent, Cycle, Obj, Plugin, Rejected
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.tolerations import tolerates

TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"
    hints_alike = True
    events = (ClusterEvent("Node", "Add"), ClusterEvent("Node", "UpdateTaint"), ClusterEvent("Pod", "UpdateTolerations"))

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return IDLE_FILTER if tolerates(pod.spec.get("tolerations"), TAINT) else NOWHERE

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource != "Node" or new is None:
            return True
        return not (new.get("spec") or {}).get("unschedulable") or tolerates(pod.spec.get("tolerations"), TAINT)

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        if tolerates(cycle.pod.spec.get("tolerations"), TAINT):
            return ()
        return (Rejected("node(s) were unschedulable", cycle.table.unschedulable, unresolvable=True),)
