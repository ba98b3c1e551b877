"""Deployment (apps/v1): replica sets that take over from each other (API reference: Deployment)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported
from pilothouse.api.kinds.workload import (
    WorkloadStrategy,
    check_at_most_all,
    check_int_or_percent,
    check_non_negative,
    check_selector_immutable,
    is_zero,
    restore,
)
from pilothouse.api.podspec.checks import Errors
from pilothouse.api.podspec.template import check_forever, check_matches, check_selector, check_template
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Path
from pilothouse.api.table import age, containers

_COUNTS = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
           "terminatingReplicas")  # fmt: skip


class DeploymentStrategy(WorkloadStrategy):
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",), ("metadata", "labels"))}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Ready"), Column("Up-to-date"), Column("Available"), AGE_COLUMN,
               Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1))  # fmt: skip

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        strategy = spec.get("strategy")
        if strategy is None:
            strategy = spec["strategy"] = {}
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.get("rollingUpdate")
            if rolling is None:
                rolling = strategy["rollingUpdate"] = {}
            for field in ("maxUnavailable", "maxSurge"):
                if rolling.get(field) is None:
                    rolling[field] = "25%"
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if spec.get("progressDeadlineSeconds") is None:
            spec["progressDeadlineSeconds"] = 600

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        spec = obj["spec"]
        check_non_negative(spec, "spec", out, "replicas")
        if check_selector(spec, "deployment", "invalid label selector", out):
            check_matches(spec, "spec.template", out)
            check_template(spec["template"], "spec.template", out)
            check_forever(spec["template"], "ReplicaSet", "spec.template", out)
        _check_strategy(spec["strategy"], out)
        check_non_negative(spec, "spec", out, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
            out.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        check_selector_immutable(obj["spec"], old["spec"], out)
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            _check_status(obj.get("status") or {}, old.get("status") or {}, out)
        return out

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        """Labels are not changed through the status."""
        super().prepare_subresource(sub, obj, old, ctx)
        if sub == "status":
            restore(obj["metadata"], old["metadata"], "labels")

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        """A Deployment's annotations go to its sets, so a change of them starts a new generation, too."""
        notes, before = (o["metadata"].get("annotations") or {} for o in (obj, old))
        return notes != before or super().spec_changed(obj, old)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers(spec["template"]["spec"])
        return [obj["metadata"]["name"], f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}", int(status.get("updatedReplicas") or 0),
                int(status.get("availableReplicas") or 0), age(obj, now), names, images, selector_text(spec.get("selector"))]  # fmt: skip


def _check_strategy(strategy: Obj, out: Errors) -> None:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            out.append(forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"))
    elif kind == "RollingUpdate":
        _check_rolling(rolling or {}, "spec.strategy.rollingUpdate", out)
    else:
        out.append(
            not_supported("spec.strategy", {"Type": kind, "RollingUpdate": _shown(rolling)}, ("Recreate", "RollingUpdate"))
        )


def _shown(rolling: Obj | None) -> Obj | None:
    return (
        None if rolling is None else {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}
    )


def _check_rolling(rolling: Obj, path: str, out: Errors) -> None:
    """Not both zero: there would be no way to replace a pod."""
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    check_int_or_percent(unavailable, f"{path}.maxUnavailable", out)
    check_int_or_percent(surge, f"{path}.maxSurge", out)
    if is_zero(unavailable) and is_zero(surge):
        out.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    check_at_most_all(unavailable, f"{path}.maxUnavailable", out)


def _check_status(status: Obj, old: Obj, out: Errors) -> None:
    check_non_negative(status, "status", out, *_COUNTS)
    check_non_negative(status, "status", out, "collisionCount")
    told = "cannot be greater than status.replicas"
    most = status.get("replicas") or 0
    for field in ("updatedReplicas", "readyReplicas", "availableReplicas"):
        if (status.get(field) or 0) > most:
            out.append(invalid(f"status.{field}", status.get(field) or 0, told))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        out.append(
            invalid("status.availableReplicas", status.get("availableReplicas") or 0, "cannot be greater than readyReplicas")
        )
    check_collisions(status, old, out)


def check_collisions(status: Obj, old: Obj, out: Errors) -> None:
    """status.collisionCount only grows: names are made from it."""
    count = status.get("collisionCount")
    if old.get("collisionCount") is not None and (count is None or count < old["collisionCount"]):
        out.append(invalid("status.collisionCount", status.get("collisionCount") or 0, "cannot be decremented"))
