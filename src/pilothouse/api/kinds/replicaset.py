"""ReplicaSet (apps/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.kinds.workload import WorkloadStrategy
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column
from pilothouse.api.table import age, containers

COUNT_COLUMNS = (NAME_COLUMN, Column("Desired", "integer"), Column("Current", "integer"), Column("Ready", "integer"), AGE_COLUMN,
                 Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1))  # fmt: skip


class ReplicaSetStrategy(WorkloadStrategy):
    columns = COUNT_COLUMNS

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers((spec.get("template") or {}).get("spec") or {})
        return [obj["metadata"]["name"], int(spec.get("replicas") or 0), int(status.get("replicas") or 0), int(status.get("readyReplicas") or 0),
                age(obj, now), names, images, selector_text(spec.get("selector"))]  # fmt: skip
