"""ServiceAccount (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Strategy
from pilothouse.api.table import age


class ServiceAccountStrategy(Strategy):
    delete_returns_object = True
    columns = (NAME_COLUMN, AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], age(obj, now)]
