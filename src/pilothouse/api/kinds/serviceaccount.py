"""ServiceAccount (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Context, Strategy
from pilothouse.api.table import age


class ServiceAccountStrategy(Strategy):
    delete_returns_object = True
    columns = (NAME_COLUMN, AGE_COLUMN)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        _names_only(obj)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)
        _names_only(obj)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], age(obj, now)]


def _names_only(obj: Obj) -> None:
    """Secrets of an account are named, and nothing else is kept about them: they are of its namespace."""
    if obj.get("secrets"):
        obj["secrets"] = [{"name": s["name"]} if s.get("name") else {} for s in obj["secrets"]]
