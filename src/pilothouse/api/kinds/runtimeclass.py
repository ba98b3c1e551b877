"""RuntimeClass: a way of running containers that nodes know by a handler's name (API reference: RuntimeClass)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required
from pilothouse.api.podspec.resources import check_requirements
from pilothouse.api.podspec.tolerations import check_tolerations
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class RuntimeClassStrategy(Strategy):
    allow_create_on_update = True
    allow_unconditional_update = False
    columns = (NAME_COLUMN, Column("Handler"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        handler = obj.get("handler") or ""
        out = named("handler", handler, names.dns1123_label(handler)) if handler else [required("handler")]
        if obj.get("overhead") is not None:
            check_requirements({"limits": obj["overhead"].get("podFixed") or {}}, "overhead", None, out)
        if obj.get("scheduling") is not None:
            out += _validate_scheduling(obj["scheduling"], "scheduling")
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out, handler = self.validate(obj), obj.get("handler") or ""
        return out if handler == old.get("handler") else [*out, invalid("handler", handler, "field is immutable")]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), obj.get("handler", ""), table.age(obj, now)]


def _validate_scheduling(scheduling: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        out += named(f"{path}.nodeSelector", key, names.qualified_name(key))
        out += named(f"{path}.nodeSelector", value, names.label_value(value))
    tolerations = scheduling.get("tolerations") or []
    check_tolerations(tolerations, f"{path}.tolerations", out)
    out += [duplicate(f"{path}.tolerations[{n}]", t) for n, t in enumerate(tolerations) if t in tolerations[:n]]
    return out
