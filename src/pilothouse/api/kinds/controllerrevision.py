"""ControllerRevision (apps/v1): data that never changes once it is there."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age


class ControllerRevisionStrategy(Strategy):
    columns = (NAME_COLUMN, Column("Controller"), Column("Revision"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        out = [] if obj.get("data") is not None else [required("data", "data is mandatory")]
        if (obj.get("revision") or 0) < 0:
            out.append(invalid("revision", obj["revision"], "must be greater than or equal to 0"))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        return out if obj.get("data") == old.get("data") else [*out, invalid("data", obj.get("data"), "field is immutable")]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        owner = next((r for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)
        told = "<none>" if owner is None else f"{owner['kind'].lower()}.{owner['apiVersion'].rpartition('/')[0]}/{owner['name']}"
        return [obj["metadata"]["name"], told, obj.get("revision", 0), age(obj, now)]
