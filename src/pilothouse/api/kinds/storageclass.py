"""StorageClass and VolumeAttributesClass: kinds of storage, and of its adjustable properties."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

DEFAULT_ANNOTATIONS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


class StorageClassStrategy(Strategy):
    delete_returns_object = True
    columns = (
        NAME_COLUMN, Column("Provisioner"), Column("ReclaimPolicy"), Column("VolumeBindingMode"), Column("AllowVolumeExpansion"), AGE_COLUMN,
    )  # fmt: skip

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [
            table.marked_default(obj, *DEFAULT_ANNOTATIONS),
            obj.get("provisioner", ""),
            obj.get("reclaimPolicy") or "Delete",
            obj.get("volumeBindingMode") or "Immediate",
            bool(obj.get("allowVolumeExpansion")),
            table.age(obj, now),
        ]


class VolumeAttributesClassStrategy(Strategy):
    delete_returns_object = True
    columns = (NAME_COLUMN, Column("DriverName"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        default = table.marked_default(obj, "volumeattributesclass.kubernetes.io/is-default-class")
        return [default, obj.get("driverName", ""), table.age(obj, now)]
