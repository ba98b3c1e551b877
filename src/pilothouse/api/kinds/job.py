"""Job: pods that run to their end."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table, times
from pilothouse.api.duration import human
from pilothouse.api.errors import Obj
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class JobStrategy(Strategy):
    default_propagation = "Orphan"
    has_generation = True
    selectable = ("status.successful",)
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Status"), Column("Completions"), Column("Duration"), AGE_COLUMN, Column("Containers", priority=1),
        Column("Images", priority=1), Column("Selector", priority=1),
    )  # fmt: skip

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        containers, images = table.containers((spec.get("template") or {}).get("spec") or {})
        selector = selector_text(spec.get("selector"))
        return [
            table.name_of(obj),
            state(obj),
            _completions(obj),
            _duration(obj, now),
            table.age(obj, now),
            containers,
            images,
            selector,
        ]


def state(obj: Obj) -> str:
    """In one word, how the job is doing."""
    true = {c.get("type") for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    ended = next((word for word in ("Complete", "Failed") if word in true), None)
    if ended:
        return ended
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((word for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if word in true), "Running")


def _completions(obj: Obj) -> str:
    spec, done = obj.get("spec") or {}, (obj.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(obj: Obj, now: float) -> str:
    """How long it has run, or ran."""
    status = obj.get("status") or {}
    if not status.get("startTime"):
        return ""
    end = times.seconds(status["completionTime"]) if status.get("completionTime") else now
    return human(end - times.seconds(status["startTime"]))
