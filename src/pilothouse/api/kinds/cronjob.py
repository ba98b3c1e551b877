"""CronJob: jobs at certain times."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class CronJobStrategy(Strategy):
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Schedule"), Column("Timezone"), Column("Suspend", "boolean"), Column("Active", "integer"),
        Column("Last Schedule"), AGE_COLUMN, Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1),
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        containers, images = table.containers((job.get("template") or {}).get("spec") or {})
        return [
            table.name_of(obj),
            spec.get("schedule", ""),
            table.or_word(spec.get("timeZone")),
            table.yes_no(spec.get("suspend")),
            table.count(status.get("active")),
            table.since(status.get("lastScheduleTime"), now, table.NONE),
            table.age(obj, now),
            containers,
            images,
            selector_text(job.get("selector")),
        ]
