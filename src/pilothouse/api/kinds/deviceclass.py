"""DeviceClass: a kind of device, by what its devices have in common (API reference: DeviceClassSpec)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import is_extended
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.kinds.devicerequests import MOST, at_most, validate_config, validate_selectors
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Strategy


class DeviceClassStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    columns = (NAME_COLUMN, AGE_COLUMN)

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.long_name(name, prefix)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out = validate_selectors(spec.get("selectors") or [], "spec.selectors")
        out += at_most("spec.config", spec.get("config") or (), MOST)
        for n, config in enumerate(spec.get("config") or ()):
            out += validate_config(config, f"spec.config[{n}]")
        name = spec.get("extendedResourceName")
        if name is not None and (not is_extended(name) or names.qualified_name(name)):
            out.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.age(obj, now)]
