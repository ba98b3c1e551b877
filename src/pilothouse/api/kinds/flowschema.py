"""FlowSchema: which requests belong together, and which priority level they have."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column


class FlowSchemaStrategy(StatusOnly):
    has_generation = True
    columns = (
        NAME_COLUMN, Column("PriorityLevel"), Column("MatchingPrecedence"), Column("DistinguisherMethod"), AGE_COLUMN, Column("MissingPL"),
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        conditions = (obj.get("status") or {}).get("conditions") or ()
        return [
            table.name_of(obj),
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            spec.get("matchingPrecedence", 0),
            table.or_word((spec.get("distinguisherMethod") or {}).get("type")),
            table.age(obj, now),
            next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?"),
        ]
