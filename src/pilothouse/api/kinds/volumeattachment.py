"""VolumeAttachment: a volume at a node, wanted or done."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class VolumeAttachmentStrategy(Strategy):
    allow_unconditional_update = False
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Attacher", format="name"), Column("PV"), Column("Node"), Column("Attached", "boolean"), AGE_COLUMN,
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        volume = (spec.get("source") or {}).get("persistentVolumeName") or ""
        attached = bool((obj.get("status") or {}).get("attached"))
        return [table.name_of(obj), spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, table.age(obj, now)]
