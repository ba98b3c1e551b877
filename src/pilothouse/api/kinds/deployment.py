"""Deployment (apps/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, forbidden, invalid
from pilothouse.api.intorstring import percent
from pilothouse.api.kinds.workload import WorkloadStrategy, non_negative
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column
from pilothouse.api.table import age, containers


class DeploymentStrategy(WorkloadStrategy):
    columns = (NAME_COLUMN, Column("Ready"), Column("Up-to-date", "integer"), Column("Available", "integer"), AGE_COLUMN,
               Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1))  # fmt: skip

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        strategy = spec.setdefault("strategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out = super().validate(obj) + _validate_strategy(spec["strategy"])
        out += non_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
            out.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
        return out

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        """A Deployment's annotations go to its sets, so a change of them starts a new generation, too."""
        notes, before = (o["metadata"].get("annotations") or {} for o in (obj, old))
        return notes != before or super().spec_changed(obj, old)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers(spec["template"]["spec"])
        return [obj["metadata"]["name"], f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}", int(status.get("updatedReplicas") or 0),
                int(status.get("availableReplicas") or 0), age(obj, now), names, images, selector_text(spec.get("selector"))]  # fmt: skip


def _validate_strategy(strategy: Obj) -> list[FieldError]:
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "Recreate":
        told = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden("spec.strategy.rollingUpdate", told)] if rolling is not None else []
    out: list[FieldError] = []
    values = {key: (rolling or {}).get(key) for key in ("maxUnavailable", "maxSurge")}
    for key, value in values.items():
        number = percent(value) if isinstance(value, str) else value
        if number is None:
            out.append(invalid(f"spec.strategy.rollingUpdate.{key}", value,
                               "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                               "regex used for validation is '[0-9]+%')"))  # fmt: skip
        elif number < 0:
            out.append(invalid(f"spec.strategy.rollingUpdate.{key}", value, "must be greater than or equal to 0"))
    if all(v in (0, "0%") for v in values.values()):
        out.append(
            invalid("spec.strategy.rollingUpdate.maxUnavailable", values["maxUnavailable"], "may not be 0 when `maxSurge` is 0")
        )
    return out
