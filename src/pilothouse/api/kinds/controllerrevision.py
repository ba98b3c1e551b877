"""ControllerRevision (apps/v1): data that never changes once it is there (API reference: ControllerRevision)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.podspec.checks import NON_NEGATIVE
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age


class ControllerRevisionStrategy(Strategy):
    columns = (NAME_COLUMN, Column("Controller"), Column("Revision"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        data = obj.get("data")
        if data is None:
            out.append(required("data", "data is mandatory"))
        elif not isinstance(data, dict):
            out.append(required("data", "data must be a valid JSON object"))
        return out + _check_revision(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = _check_revision(obj)
        return (
            out if obj.get("data") == old.get("data") else [*out, invalid("data", _sorted(obj.get("data")), "field is immutable")]
        )

    def cells(self, obj: Obj, now: float) -> list[Any]:
        owner = next((r for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)
        told = "<none>" if owner is None else f"{owner['kind'].lower()}.{owner['apiVersion'].rpartition('/')[0]}/{owner['name']}"
        return [obj["metadata"]["name"], told, obj.get("revision", 0), age(obj, now)]


def _check_revision(obj: Obj) -> list[FieldError]:
    revision = obj.get("revision") or 0
    return [invalid("revision", revision, NON_NEGATIVE)] if revision < 0 else []


def _sorted(value: Any) -> Any:
    """As messages repeat it: members in order of their names."""
    if isinstance(value, dict):
        return {k: _sorted(v) for k, v in sorted(value.items())}
    return [_sorted(v) for v in value] if isinstance(value, list) else value
