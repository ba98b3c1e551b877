"""PriorityLevelConfiguration: how much of the server a priority level gets, and how its requests queue."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column


class PriorityLevelConfigurationStrategy(StatusOnly):
    has_generation = True
    columns = (
        NAME_COLUMN, Column("Type"), Column("NominalConcurrencyShares"), Column("Queues"), Column("HandSize"), Column("QueueLengthLimit"),
        AGE_COLUMN,
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        limited = spec.get("limited") or {}
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        return [
            table.name_of(obj),
            spec.get("type", ""),
            table.or_word(limited.get("nominalConcurrencyShares")),
            *(table.NONE if queuing is None else queuing.get(f, 0) for f in ("queues", "handSize", "queueLengthLimit")),
            table.age(obj, now),
        ]
