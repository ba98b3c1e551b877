"""APIService: which server answers for a group and version."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pilothouse.api import names, table
from pilothouse.api.errors import Obj
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context


class APIServiceStrategy(StatusOnly):
    allow_unconditional_update = False
    columns = (NAME_COLUMN, Column("Service"), Column("Available"), AGE_COLUMN)

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.path_segment(name, prefix)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """What this server answers for itself is available from the start."""
        super().prepare_create(obj, ctx)
        if (obj.get("spec") or {}).get("service") is None:
            condition = {
                "type": "Available",
                "status": "True",
                "lastTransitionTime": dt.datetime.fromtimestamp(ctx.now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "reason": "Local",
                "message": "Local APIServices are always available",
            }
            obj["status"] = {"conditions": [condition]}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        service = (obj.get("spec") or {}).get("service")
        where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
        return [table.name_of(obj), where, _availability(obj), table.age(obj, now)]


def _availability(obj: Obj) -> str:
    """Whether the server answers, and why not."""
    found: Obj | None = next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Available"), None)
    if found is None:
        return "Unknown"
    status: str = found.get("status", "")
    return status if status == "True" else f"{status} ({found.get('reason', '')})"
