"""PersistentVolumeClaim: a request for storage, and the volume that answers it."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.kinds.persistentvolume import phase, storage_class
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class PersistentVolumeClaimStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Status"), Column("Volume"), Column("Capacity"), Column("Access Modes"), Column("StorageClass"),
        Column("VolumeAttributesClass"), AGE_COLUMN, Column("VolumeMode", priority=1),
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        volume = spec.get("volumeName", "")
        return [
            table.name_of(obj),
            phase(obj),
            volume,
            (status.get("capacity") or {}).get("storage", "0") if volume else "",
            table.access_modes(status.get("accessModes")) if volume else "",
            storage_class(obj),
            table.or_word(spec.get("volumeAttributesClassName"), table.UNSET),
            table.age(obj, now),
            table.or_word(spec.get("volumeMode"), table.UNSET),
        ]
