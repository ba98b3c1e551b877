"""CSINode: which storage drivers a node has, and under which name each knows the node (API reference: CSINodeSpec)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import named, non_negative
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required
from pilothouse.api.internal_form import dump
from pilothouse.api.kinds.volumesource import csi_driver_name
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

LONGEST_NODE_ID = 256


class CSINodeStrategy(Strategy):
    allow_unconditional_update = False
    delete_returns_object = True
    metadata_checked_again = frozenset(("common",))
    columns = (NAME_COLUMN, Column("Drivers", "integer"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        seen: set[str] = set()
        for n, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
            path, name = f"spec.drivers[{n}]", driver.get("name") or ""
            out += _validate_driver(driver, path)
            if name in seen:
                out.append(duplicate(f"{path}.name", name))
            seen.add(name)
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        """A driver that stays is the same, except for how many volumes it can attach."""
        out = self.validate(obj)
        before = {d.get("name"): _shown(d) for d in (old.get("spec") or {}).get("drivers") or ()}
        for driver in (obj.get("spec") or {}).get("drivers") or ():
            shown = _shown(driver)
            if before.get(driver.get("name"), shown) != shown:
                out.append(invalid("spec.drivers", shown, "field is immutable"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.count((obj.get("spec") or {}).get("drivers")), table.age(obj, now)]


def _shown(driver: Obj) -> Obj | None:
    return dump({**driver, "allocatable": None}, "Name:name NodeID:nodeID TopologyKeys:topologyKeys? Allocatable:allocatable?")


def _validate_driver(driver: Obj, path: str) -> list[FieldError]:
    out = csi_driver_name(driver.get("name") or "", f"{path}.name")
    node = driver.get("nodeID") or ""
    if not node:
        out.append(required(f"{path}.nodeID"))
    elif names.size(node) > LONGEST_NODE_ID:
        out.append(invalid(f"{path}.nodeID", node, f"must be {LONGEST_NODE_ID} characters or less"))
    out += non_negative(f"{path}.allocatable.count", (driver.get("allocatable") or {}).get("count"))
    seen: set[str] = set()
    for key in driver.get("topologyKeys") or ():
        if not key:
            out.append(required(path))
        if key in seen:
            out.append(duplicate(path, key))
        seen.add(key)
        out += named(path, key, names.qualified_name(key))
    return out
