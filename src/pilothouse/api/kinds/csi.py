"""CSIDriver, CSINode and CSIStorageCapacity: storage drivers, where they run, and how much they have left."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy


class CSIDriverStrategy(Strategy):
    allow_unconditional_update = False
    delete_returns_object = True
    columns = (
        NAME_COLUMN, Column("AttachRequired", "boolean"), Column("PodInfoOnMount", "boolean"), Column("StorageCapacity", "boolean"),
        Column("TokenRequests"), Column("RequiresRepublish", "boolean"), Column("Modes"), AGE_COLUMN,
    )  # fmt: skip

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        """The generation counts changes, but is not there before the first one."""
        super().prepare_update(obj, old, ctx)
        generation = old["metadata"].get("generation", 0) + (1 if self.spec_changed(obj, old) else 0)
        if generation:
            obj["metadata"]["generation"] = generation

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return [
            table.name_of(obj),
            spec.get("attachRequired", True),
            spec.get("podInfoOnMount", False),
            spec.get("storageCapacity", False),
            table.or_word(table.names(spec.get("tokenRequests"), "audience"), table.UNSET),
            spec.get("requiresRepublish", False),
            table.or_word(",".join(spec.get("volumeLifecycleModes") or ())),
            table.age(obj, now),
        ]


class CSINodeStrategy(Strategy):
    allow_unconditional_update = False
    delete_returns_object = True
    columns = (NAME_COLUMN, Column("Drivers", "integer"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.count((obj.get("spec") or {}).get("drivers")), table.age(obj, now)]


class CSIStorageCapacityStrategy(Strategy):
    allow_unconditional_update = False
    columns = (NAME_COLUMN, Column("StorageClassName"), Column("Capacity"))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), obj.get("storageClassName", ""), table.or_word(obj.get("capacity"), table.UNSET)]
