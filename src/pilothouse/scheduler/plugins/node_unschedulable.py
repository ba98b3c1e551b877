"""NodeUnschedulable: cordoned nodes take no pods, but for those that tolerate the cordon's taint."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.scheduler.framework import ClusterEvent, Cycle, Plugin, Rejected
from pilothouse.scheduler.tolerations import tolerates

TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"
    events = (ClusterEvent("Node", "Add"), ClusterEvent("Node", "UpdateTaint"), ClusterEvent("Pod", "UpdateTolerations"))

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        if tolerates(cycle.pod.spec.get("tolerations"), TAINT):
            return ()
        return (Rejected("node(s) were unschedulable", cycle.table.unschedulable, unresolvable=True),)
