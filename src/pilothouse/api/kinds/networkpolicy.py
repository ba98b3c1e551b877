"""NetworkPolicy: who may talk to whom."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class NetworkPolicyStrategy(Strategy):
    has_generation = True
    columns = (NAME_COLUMN, Column("Pod-Selector"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), selector_text((obj.get("spec") or {}).get("podSelector")), table.age(obj, now)]
