"""PersistentVolume: a piece of storage that claims can be bound to."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

STORAGE_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class PersistentVolumeStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Capacity"), Column("Access Modes"), Column("Reclaim Policy"), Column("Status"), Column("Claim"),
        Column("StorageClass"), Column("VolumeAttributesClass"), Column("Reason"), AGE_COLUMN, Column("VolumeMode", priority=1),
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        claim = spec.get("claimRef")
        return [
            table.name_of(obj),
            (spec.get("capacity") or {}).get("storage", "0"),
            table.access_modes(spec.get("accessModes")),
            spec.get("persistentVolumeReclaimPolicy", ""),
            phase(obj),
            f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
            storage_class(obj),
            table.or_word(spec.get("volumeAttributesClassName"), table.UNSET),
            status.get("reason", ""),
            table.age(obj, now),
            table.or_word(spec.get("volumeMode"), table.UNSET),
        ]


def phase(obj: Obj) -> str:
    """The phase, or that it is being deleted."""
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else (obj.get("status") or {}).get("phase", "")


def storage_class(obj: Obj) -> str:
    """The storage class of a volume or claim: an old annotation wins over the field."""
    annotations = obj["metadata"].get("annotations") or {}
    found: str = annotations.get(STORAGE_CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""
    return found
