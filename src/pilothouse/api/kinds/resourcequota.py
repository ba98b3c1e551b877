"""ResourceQuota: how much a namespace may hold in all."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class ResourceQuotaStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Request"), Column("Limit"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        status = obj.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        shown = [(name, f"{name}: {used.get(name, '0')}/{hard[name]}") for name in sorted(hard)]
        limits = [text for name, text in shown if name.startswith("limits")]
        requests = [text for name, text in shown if not name.startswith("limits")]
        return [table.name_of(obj), ", ".join(requests), ", ".join(limits), table.age(obj, now)]
