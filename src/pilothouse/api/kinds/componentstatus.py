"""ComponentStatus: the health of the control plane's parts, computed when asked for."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import NAME_COLUMN, Column, Strategy

_WORDS = {"True": "Healthy", "False": "Unhealthy"}


class ComponentStatusStrategy(Strategy):
    columns = (NAME_COLUMN, Column("Status"), Column("Message"), Column("Error"))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        healthy: Obj = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})
        return [
            table.name_of(obj),
            _WORDS.get(healthy.get("status", ""), "Unknown"),
            healthy.get("message", ""),
            healthy.get("error", ""),
        ]
