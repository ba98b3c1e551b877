"""ResourceClaim, its template, DeviceClass and ResourceSlice: devices that pods ask for, and that nodes have (dynamic resource allocation)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class ResourceClaimStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("State"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), state(obj), table.age(obj, now)]


def state(obj: Obj) -> str:
    """How far the claim is."""
    status, deleted = obj.get("status") or {}, bool(obj["metadata"].get("deletionTimestamp"))
    words = ["deleted"] * deleted
    if status.get("allocation") is None:
        words += ["pending"] * (not deleted)
    else:
        words += ["allocated"] + ["reserved"] * bool(status.get("reservedFor"))
    return ",".join(words)


class ResourceClaimTemplateStrategy(Strategy):
    delete_returns_object = True
    columns = (NAME_COLUMN, AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.age(obj, now)]


class DeviceClassStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    columns = (NAME_COLUMN, AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.age(obj, now)]


class ResourceSliceStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    selectable = ("spec.nodeName", "spec.driver")
    columns = (NAME_COLUMN, Column("Node"), Column("Driver"), Column("Pool"), AGE_COLUMN)

    def fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.nodeName": spec.get("nodeName") or "", "spec.driver": spec.get("driver", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        pool = (spec.get("pool") or {}).get("name", "")
        return [table.name_of(obj), spec.get("nodeName") or "", spec.get("driver", ""), pool, table.age(obj, now)]
