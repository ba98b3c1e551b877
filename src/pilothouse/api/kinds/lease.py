"""Lease (coordination.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy
from pilothouse.api.table import age


class LeaseStrategy(Strategy):
    allow_create_on_update = True
    allow_unconditional_update = False
    columns = (NAME_COLUMN, Column("Holder"), AGE_COLUMN)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        _drop_coordination(obj)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)
        _drop_coordination(obj)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out: list[FieldError] = []
        if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
            out.append(invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"))
        if (spec.get("leaseTransitions") or 0) < 0:
            out.append(invalid("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], (obj.get("spec") or {}).get("holderIdentity") or "", age(obj, now)]


def _drop_coordination(obj: Obj) -> None:
    """Coordinated leader election is off by default (KEP-4355): its fields are not kept."""
    spec = obj.get("spec") or {}
    for key in ("strategy", "preferredHolder"):
        spec.pop(key, None)
