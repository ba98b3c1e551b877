"""VolumeAttributesClass: adjustable properties of volumes, by the name of their driver (API reference: VolumeAttributesClass)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import FieldError, Obj, forbidden, required
from pilothouse.api.kinds.storageclass import validate_driver, validate_parameters
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

DEFAULT_ANNOTATION = "volumeattributesclass.kubernetes.io/is-default-class"


class VolumeAttributesClassStrategy(Strategy):
    delete_returns_object = True
    columns = (NAME_COLUMN, Column("DriverName"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        return _validate_driver(obj) + _validate_parameters(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        for key, empty in (("driverName", ""), ("parameters", {})):
            if (obj.get(key) or empty) != (old.get(key) or empty):
                out.append(forbidden(key, f"updates to {key} are forbidden."))
        return out + self.validate(obj)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.marked_default(obj, DEFAULT_ANNOTATION), obj.get("driverName", ""), table.age(obj, now)]


def _validate_driver(obj: Obj) -> list[FieldError]:
    return validate_driver(obj.get("driverName") or "", "driverName")


def _validate_parameters(obj: Obj) -> list[FieldError]:
    if not obj.get("parameters"):
        return [required("parameters", "must contain at least one key/value pair")]
    return validate_parameters(obj["parameters"], "parameters")
