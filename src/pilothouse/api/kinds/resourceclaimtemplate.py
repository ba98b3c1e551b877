"""ResourceClaimTemplate: what the claims that are made for pods look like. It never changes."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.kinds.devicerequests import default_devices, shown_devices, validate_devices
from pilothouse.api.meta import validate_annotations, validate_labels
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Strategy


class ResourceClaimTemplateStrategy(Strategy):
    delete_returns_object = True
    columns = (NAME_COLUMN, AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        default_devices(_devices(obj))

    def validate(self, obj: Obj) -> list[FieldError]:
        metadata, path = (obj.get("spec") or {}).get("metadata") or {}, "spec.metadata"
        out = validate_labels(metadata.get("labels") or {}, f"{path}.labels")
        out += validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations")
        return out + validate_devices(_devices(obj), "spec.spec.devices")

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        if _shown(obj) != _shown(old) or (obj.get("spec") or {}).get("metadata") != (old.get("spec") or {}).get("metadata"):
            out.append(invalid("spec", _shown(obj), "field is immutable"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.age(obj, now)]


def _devices(obj: Obj) -> Obj:
    return ((obj.get("spec") or {}).get("spec") or {}).get("devices") or {}


def _shown(obj: Obj) -> Obj:
    """The specification as messages show it."""
    metadata = (obj.get("spec") or {}).get("metadata")
    return {**(metadata or {}), "Spec": {"Devices": shown_devices(_devices(obj))}}
