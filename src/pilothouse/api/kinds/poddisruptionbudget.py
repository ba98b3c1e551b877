"""PodDisruptionBudget: how many pods may be missing at once by choice."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class PodDisruptionBudgetStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Min Available"), Column("Max Unavailable"), Column("Allowed Disruptions", "integer"), AGE_COLUMN,
    )  # fmt: skip

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.path_segment(name, prefix)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        allowed = (obj.get("status") or {}).get("disruptionsAllowed", 0)
        return [table.name_of(obj), *("N/A" if v is None else str(v) for v in (least, most)), allowed, table.age(obj, now)]
