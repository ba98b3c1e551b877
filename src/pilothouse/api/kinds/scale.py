"""Scale: the number of pods, as a subresource of what runs them."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, Column, Strategy


class ScaleStrategy(Strategy):
    """How a Scale is shown. It is never stored."""

    columns = (Column("Name"), Column("Desired", "integer"), Column("Available", "integer"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        wanted = (obj.get("spec") or {}).get("replicas", 0)
        return [table.name_of(obj), wanted, (obj.get("status") or {}).get("replicas", 0), table.age(obj, now)]
