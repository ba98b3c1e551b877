"""SchedulingGates: a pod with scheduling gates stays out of the queue (KEP-3521)."""

from __future__ import annotations

from pilothouse.scheduler.framework import ClusterEvent, Code, Plugin, Status
from pilothouse.scheduler.podinfo import PodInfo


class SchedulingGates(Plugin):
    name = "SchedulingGates"
    events = (ClusterEvent("Pod", "UpdateGates"),)

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        if pod.spec.get("schedulingGates"):
            return Status(Code.UNRESOLVABLE, ("Scheduling is blocked due to non-empty scheduling gates",))
        return None
