"""ReplicaSet (apps/v1): so many pods of one kind (API reference: ReplicaSet)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.kinds.workload import WorkloadStrategy, check_non_negative, check_selector_immutable
from pilothouse.api.podspec.checks import Errors
from pilothouse.api.podspec.template import check_forever, check_matches, check_selector, check_template
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context
from pilothouse.api.table import age, containers

COUNT_COLUMNS = (NAME_COLUMN, Column("Desired", "integer"), Column("Current", "integer"), Column("Ready", "integer"), AGE_COLUMN,
                 Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1))  # fmt: skip


class ReplicaSetStrategy(WorkloadStrategy):
    columns = COUNT_COLUMNS

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"replicas": 0}

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        spec = obj["spec"]
        check_non_negative(spec, "spec", out, "replicas", "minReadySeconds")
        if check_selector(spec, "deployment", "invalid label selector", out):
            check_matches(spec, "spec.template", out)
            check_template(spec["template"], "spec.template", out)
            check_forever(spec["template"], "ReplicaSet", "spec.template", out)
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        check_selector_immutable(obj["spec"], old["spec"], out)
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            check_replica_status(obj.get("status") or {}, out)
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers((spec.get("template") or {}).get("spec") or {})
        return [obj["metadata"]["name"], int(spec.get("replicas") or 0), int(status.get("replicas") or 0), int(status.get("readyReplicas") or 0),
                age(obj, now), names, images, selector_text(spec.get("selector"))]  # fmt: skip


def check_replica_status(status: Obj, out: Errors) -> None:
    """Counts of parts are not greater than those of the whole."""
    check_non_negative(
        status, "status", out, "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas"
    )
    check_non_negative(status, "status", out, "observedGeneration")
    most = status.get("replicas") or 0
    for field in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        if (status.get(field) or 0) > most:
            out.append(invalid(f"status.{field}", status.get(field) or 0, "cannot be greater than status.replicas"))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        out.append(
            invalid("status.availableReplicas", status.get("availableReplicas") or 0, "cannot be greater than readyReplicas")
        )
