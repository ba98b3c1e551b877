"""RuntimeClass: a way of running containers that nodes know by a handler's name."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class RuntimeClassStrategy(Strategy):
    allow_create_on_update = True
    allow_unconditional_update = False
    columns = (NAME_COLUMN, Column("Handler"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), obj.get("handler", ""), table.age(obj, now)]
