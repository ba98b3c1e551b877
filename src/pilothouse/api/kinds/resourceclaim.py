"""ResourceClaim: devices that a pod asks for, and those that it got. What is asked for never changes (API reference: ResourceClaimSpec)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.kinds.claimstatus import validate_status
from pilothouse.api.kinds.devicerequests import default_devices, shown_devices, validate_devices
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class ResourceClaimStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("State"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        default_devices((obj.get("spec") or {}).get("devices") or {})

    def validate(self, obj: Obj) -> list[FieldError]:
        return validate_devices((obj.get("spec") or {}).get("devices") or {}, "spec.devices")

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        shown, before = ({"Devices": shown_devices((o.get("spec") or {}).get("devices") or {})} for o in (obj, old))
        return [] if shown == before else [invalid("spec", shown, "field is immutable")]

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        return validate_status(obj, old) if sub == "status" else []

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
