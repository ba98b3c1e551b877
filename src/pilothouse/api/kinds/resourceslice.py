"""ResourceSlice: devices that a node, or several, have, as their driver tells (API reference: ResourceSliceSpec).

What is said of a single device is checked in sliceddevice.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import IMMUTABLE, named
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required
from pilothouse.api.kinds.claimstatus import validate_pool_name
from pilothouse.api.kinds.devicecapacity import validate_counter_sets
from pilothouse.api.kinds.devicerequests import at_most
from pilothouse.api.kinds.sliceddevice import drop_disabled, validate_device, validate_one_term
from pilothouse.api.kinds.volumesource import csi_driver_name
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy

MOST_DEVICES, MOST_SPECIAL_DEVICES = 128, 64
_NOT_BOTH = "only one of `sharedCounters` or `devices` is allowed"
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


class ResourceSliceStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    selectable = ("spec.nodeName", "spec.driver")
    columns = (NAME_COLUMN, Column("Node"), Column("Driver"), Column("Pool"), AGE_COLUMN)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        drop_disabled(obj.get("spec") or {}, {})

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        drop_disabled(obj.get("spec") or {}, old.get("spec") or {})
        super().prepare_update(obj, old, ctx)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        return _validate_origin(spec) + _validate_place(spec) + _validate_devices(spec)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        out = _validate_origin(spec)
        pools = [(s.get("pool") or {}).get("name") or "" for s in (spec, before)]
        if pools[0] != pools[1]:
            out.append(invalid("spec.pool.name", pools[0], IMMUTABLE))
        if (spec.get("driver") or "") != before.get("driver"):
            out.append(invalid("spec.driver", spec.get("driver") or "", IMMUTABLE))
        if spec.get("nodeName") != before.get("nodeName"):
            out.append(invalid("spec.nodeName", spec.get("nodeName"), IMMUTABLE))
        return out + _validate_place(spec) + _validate_devices(spec)

    def unknown_field(self, field: str) -> str:
        return f"field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}"

    def fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.nodeName": spec.get("nodeName") or "", "spec.driver": spec.get("driver", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        pool = (spec.get("pool") or {}).get("name", "")
        return [table.name_of(obj), spec.get("nodeName") or "", spec.get("driver", ""), pool, table.age(obj, now)]


def _validate_origin(spec: Obj) -> list[FieldError]:
    return csi_driver_name(spec.get("driver") or "", "spec.driver") + _validate_pool(spec.get("pool") or {}, "spec.pool")


def _validate_devices(spec: Obj) -> list[FieldError]:
    devices, counters = spec.get("devices") or [], spec.get("sharedCounters") or []
    out = [invalid("spec", "", _NOT_BOTH)] if devices and counters else []
    special = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    out += at_most("spec.devices", devices, MOST_SPECIAL_DEVICES if special else MOST_DEVICES)
    seen: set[str] = set()
    for n, device in enumerate(devices):
        name, path = device.get("name") or "", f"spec.devices[{n}]"
        if name in seen:
            out.append(duplicate(path, name))
        else:
            out += validate_device(device, path, bool(spec.get("perDeviceNodeSelection")))
        seen.add(name)
    return out + validate_counter_sets(counters, "spec.sharedCounters")


def _validate_pool(pool: Obj, path: str) -> list[FieldError]:
    name, count, generation = pool.get("name") or "", pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    out = validate_pool_name(name, f"{path}.name")
    if count <= 0:
        out.append(invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        out.append(invalid(f"{path}.generation", generation, "must be greater than or equal to zero"))
    return out


def _validate_place(spec: Obj) -> list[FieldError]:
    """Where the devices can be used from is told in one way."""
    out: list[FieldError] = []
    found = [key for key in _PLACES if spec.get(key)]
    if spec.get("nodeName") == "":
        out.append(invalid("spec.nodeName", "", "must be either unset or set to a non-empty string"))
    elif spec.get("nodeName") is not None:
        out += named("spec.nodeName", spec["nodeName"], names.dns1123_subdomain(spec["nodeName"]))
    if spec.get("nodeSelector") is not None:
        found = [key for key in _PLACES if spec.get(key) or key == "nodeSelector"]
        out += validate_one_term(spec["nodeSelector"], "spec.nodeSelector")
    for key in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(key) is False:
            out.append(invalid(f"spec.{key}", False, "must be either unset or set to true"))
    if not found:
        return [*out, required("spec", _ONE_PLACE)]
    if len(found) > 1:
        shown = "{" + ", ".join(f"`{key}`" for key in found) + "}"
        out.append(invalid("spec", shown, f"{_ONE_PLACE}, but multiple fields are set"))
    return out
