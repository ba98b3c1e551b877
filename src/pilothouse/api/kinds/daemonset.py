"""DaemonSet (apps/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.kinds.workload import WorkloadStrategy
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context
from pilothouse.api.table import age, containers, labels_text


class DaemonSetStrategy(WorkloadStrategy):
    default_replicas = False
    columns = (NAME_COLUMN, Column("Desired", "integer"), Column("Current", "integer"), Column("Ready", "integer"), Column("Up-to-date", "integer"),
               Column("Available", "integer"), Column("Node Selector"), AGE_COLUMN, Column("Containers", priority=1), Column("Images", priority=1),
               Column("Selector", priority=1))  # fmt: skip

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        spec.setdefault("revisionHistoryLimit", 10)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}
        obj["metadata"].setdefault("annotations", {}).setdefault("deprecated.daemonset.template.generation", "1")

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers(spec["template"]["spec"])
        numbers = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
        return [obj["metadata"]["name"], *(status.get(n) or 0 for n in numbers), labels_text(spec["template"]["spec"].get("nodeSelector")),
                age(obj, now), names, images, selector_text(spec.get("selector"))]  # fmt: skip
