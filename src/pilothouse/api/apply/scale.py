"""Field ownership across the scale subresource: who owns `spec.replicas` of a Scale is who owns the replicas of its object.

A write through `/scale` is tracked on the Scale: see it with the owners of the object's replicas (`to_scale`), track or apply
there, and carry the result back (`to_object`). The object's other fields keep their owners.
"""

from __future__ import annotations

from pilothouse.api.apply.fieldset import Fields, covers, difference, from_paths, union
from pilothouse.api.apply.managed import Manager, managers_of, write
from pilothouse.api.errors import Obj

SCALE_VERSION = "autoscaling/v1"

_REPLICAS = from_paths([("spec", "replicas")])


def to_scale(obj: Obj, scale: Obj, path: tuple[str, ...] = ("spec", "replicas")) -> None:
    """Give the Scale its managedFields: one entry for each manager that owns the object's replicas, which are at `path`."""
    replicas = from_paths([path])
    owners = [m for m in managers_of(obj) if covers(m.fields, replicas)]
    write(scale, [_entry(m, SCALE_VERSION, _REPLICAS) for m in owners])


def to_object(obj: Obj, scale: Obj, path: tuple[str, ...] = ("spec", "replicas"), *, api_version: str) -> None:
    """Give the object the owners of its replicas that the Scale has after a write. Owners new to it are noted without a time."""
    replicas = from_paths([path])
    left = {_who(m): m for m in managers_of(scale) if covers(m.fields, _REPLICAS)}
    managers = []
    for m in managers_of(obj):
        if _who(m) in left:
            del left[_who(m)]
            m.fields = m.fields if covers(m.fields, replicas) else union(m.fields, replicas)
        else:
            m.fields = difference(m.fields, replicas)
        managers.append(m)
    new = (Manager(m.name, m.operation, api_version, "scale", replicas, None) for m in left.values())
    write(obj, [*managers, *new])


def _who(m: Manager) -> tuple[str, str, str]:
    return (m.name, m.operation, m.subresource)


def _entry(m: Manager, api_version: str, fields: Fields) -> Manager:
    return Manager(m.name, m.operation, api_version, m.subresource, fields, m.time)
