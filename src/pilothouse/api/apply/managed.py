"""`metadata.managedFields`: reading it, writing it, and keeping it true when an object is created or updated.

Rules (Server-Side Apply, "Field management" in the Kubernetes documentation):

* Who creates or updates an object comes to own the fields that the write changed, and those alone; others lose them.
* Fields that go away go away from everybody; an entry that owns nothing goes away too.
* An entry's time is that of its manager's last write that changed something.
* An object without managedFields, other than a new one, is not tracked; clients take tracking off by writing `[{}]`.
* At most ten managers are remembered for updates; the oldest are merged into `ancient-changes`.

Track before admission runs: what admission plugins set is nobody's. Field sets in entries are shared between objects; nothing
changes them in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pilothouse.api.apply.fieldset import Fields, checked, covers, difference, from_paths, intersection, ordered, union
from pilothouse.api.apply.typed import UNOWNED, Comparison, compare, created
from pilothouse.api.apply.types import type_of
from pilothouse.api.errors import Obj
from pilothouse.api.schema import Schema

MAX_UPDATERS = 10
ANCIENT = "ancient-changes"

Paths = tuple[tuple[str, ...], ...]
#: For an apiVersion other than the request's: the kind's schema there and how to see the object in it; None if there is no such.
Versions = Callable[[str], "tuple[Schema, Callable[[Obj], Obj]] | None"]


@dataclass(slots=True)
class Manager:
    """One entry: who (by name, operation, subresource; updates also by version), and which fields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    fields: Fields
    time: str | None
    #: The entry as it is stored, for reuse while nothing in it changes.
    stored: Obj | None = None

    @property
    def identity(self) -> tuple[str, str, str, str]:
        version = "" if self.operation == "Apply" else self.api_version
        return (self.name, self.operation, version, self.subresource)

    @property
    def order(self) -> tuple[str, str, str, str, str]:
        """Applies come first, then by time; the rest only makes the order certain."""
        return (self.operation, self.time or "", self.name, self.api_version, self.subresource)

    def entry(self) -> Obj:
        stored = self.stored
        if stored is not None and stored.get("fieldsV1") is self.fields and stored.get("time") == self.time:
            return stored
        out: Obj = {}
        if self.name:
            out["manager"] = self.name
        out["operation"] = self.operation
        out["apiVersion"] = self.api_version
        if self.time is not None:
            out["time"] = self.time
        out["fieldsType"] = "FieldsV1"
        out["fieldsV1"] = self.fields
        if self.subresource:
            out["subresource"] = self.subresource
        return out


@lru_cache(maxsize=512)
def reset_set(paths: Paths) -> Fields:
    """The fields that an endpoint does not write, as a set; one and the same for the same paths."""
    return from_paths(tuple(p for p in path if p != "*") for path in paths)


@lru_cache(maxsize=8)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def timestamp(now: float) -> str:
    """Epoch seconds as an entry's time."""
    return _second(int(now))


# --- reading and writing --------------------------------------------------------------------------------------------------------


def decode(entries: Any) -> list[Manager] | None:
    """The managers in a list of entries; None if any entry is malformed."""
    if not isinstance(entries, list):
        return [] if entries is None else None
    try:
        found = [_decode_entry(e) for e in entries]
    except (ValueError, AttributeError, RecursionError):
        return None
    return list({m.identity: m for m in found}.values())


def _decode_entry(entry: Obj) -> Manager:
    if entry.get("operation") not in ("Apply", "Update") or entry.get("fieldsType") != "FieldsV1":
        raise ValueError("neither operation nor fieldsType may be anything else")
    raw = entry.get("fieldsV1")
    name, subresource = entry.get("manager") or "", entry.get("subresource") or ""
    fields = ordered(checked({} if raw is None else raw))
    return Manager(name, entry["operation"], entry.get("apiVersion") or "", subresource, fields, entry.get("time"))


def managers_of(obj: Obj | None) -> list[Manager]:
    """The managers of a stored object: what this module wrote."""
    entries = obj["metadata"].get("managedFields") if obj else None
    return [
        Manager(
            e.get("manager", ""),
            e["operation"],
            e["apiVersion"],
            e.get("subresource", ""),
            e.get("fieldsV1") or {},
            e.get("time"),
            e,
        )
        for e in entries or ()
    ]


def write(obj: Obj, managers: list[Manager]) -> None:
    """Put the managers into the object, in their order; those that own nothing are left out."""
    found = [m for m in managers if m.fields]
    if found:
        obj["metadata"]["managedFields"] = [m.entry() for m in sorted(found, key=lambda m: m.order)]
    else:
        obj["metadata"].pop("managedFields", None)


# --- creates and updates --------------------------------------------------------------------------------------------------------


def track_update(
    new: Obj,
    old: Obj | None,
    schema: Schema,
    manager: str,
    *,
    api_version: str,
    now: float,
    subresource: str = "",
    reset_fields: Paths = (),
    versions: Versions | None = None,
) -> None:
    """Set the managedFields of `new`, which `manager` is about to write over `old` (None: `new` is created).

    Call it when `new` is decoded and has its defaults, before admission. `reset_fields` are those that this endpoint does not
    write. `now` is in epoch seconds. Only `new["metadata"]["managedFields"]` changes.
    """
    reset = reset_set(reset_fields)
    name = manager or "unknown"
    meta = new["metadata"]
    if old is None:
        _track_create(meta, name, api_version, timestamp(now), created(type_of(schema), new, reset), subresource)
        return
    given, stored = meta.get("managedFields"), old["metadata"].get("managedFields")
    by_hand = bool(given) and not subresource and given is not stored and given != stored
    managers = (decode(given) if by_hand else None) or managers_of(old)
    if not managers or (by_hand and given == [{}]):
        meta.pop("managedFields", None)
        return
    meta["managedFields"] = given if by_hand else stored
    found = Differences(old, new, schema, api_version, reset, versions)
    if not by_hand and found.nothing:
        return
    write(new, cap(_update(managers, Manager(name, "Update", api_version, subresource, {}, timestamp(now)), found)))


def _track_create(meta: Obj, name: str, api_version: str, now: str, fields: Fields, subresource: str) -> None:
    if not fields:
        meta.pop("managedFields", None)
        return
    entry: Obj = {
        "manager": name,
        "operation": "Update",
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    meta["managedFields"] = [entry]


class Differences:
    """How the two objects differ, in the version of whoever asks."""

    def __init__(self, old: Obj, new: Obj, schema: Schema, api_version: str, reset: Fields, versions: Versions | None) -> None:
        self._old, self._new, self._reset, self._versions = old, new, reset, versions
        self.here = compare(type_of(schema), old, new).less(reset)
        self._found: dict[str, Comparison | None] = {api_version: self.here}

    @property
    def nothing(self) -> bool:
        """Whether only what nobody owns differs."""
        here = self.here
        return not (here.removed or difference(here.modified, UNOWNED) or difference(here.added, UNOWNED))

    def seen_by(self, api_version: str) -> Comparison | None:
        """The comparison in a version; None if the kind does not have it."""
        if api_version not in self._found:
            known = self._versions(api_version) if self._versions else None
            if known is None:
                self._found[api_version] = None
            else:
                schema, convert = known
                self._found[api_version] = compare(type_of(schema), convert(self._old), convert(self._new)).less(self._reset)
        return self._found[api_version]


def _update(managers: list[Manager], me: Manager, found: Differences) -> list[Manager]:
    taken = ordered(difference(found.here.set_fields, UNOWNED))
    out = []
    mine: Manager | None = None
    for m in managers:
        seen = found.seen_by(m.api_version)
        if seen is None:
            continue
        if m.identity == me.identity:
            mine = m
            m.fields = difference(m.fields, seen.removed) if seen.removed else m.fields
        else:
            m.fields = lose(m.fields, seen.set_fields, seen.removed)
        out.append(m)
    if taken:
        if mine is None:
            mine = me
            out.append(me)
        mine.time = me.time
        if not covers(mine.fields, taken):
            mine.fields = union(mine.fields, taken)
    return out


def lose(fields: Fields, taken: Fields, removed: Fields) -> Fields:
    """A manager's fields after another's write: the very same set if nothing of it was touched."""
    if intersection(fields, taken):
        fields = difference(fields, taken)
    return difference(fields, removed) if removed else fields


def cap(managers: list[Manager]) -> list[Manager]:
    """At most so many managers of updates: the oldest of each version are merged into one entry."""
    updaters = sorted((m for m in managers if m.operation == "Update" and m.fields), key=lambda m: m.order)
    if len(updaters) <= MAX_UPDATERS:
        return managers
    count = len(updaters)
    first: dict[str, Manager] = {}
    gone: set[int] = set()
    for m in updaters:
        if count <= MAX_UPDATERS:
            break
        bucket = first.get(m.api_version)
        if bucket is None:
            first[m.api_version] = m
            continue
        bucket.name, bucket.subresource = ANCIENT, ""
        bucket.fields, bucket.time = union(bucket.fields, m.fields), m.time
        gone.add(id(m))
        count -= 1
    return [m for m in managers if id(m) not in gone]


def keep_times_if_unchanged(new: Obj, old: Obj) -> None:
    """Give `new` the managedFields of `old` if the two differ in nothing but the times in them, so that the write is none."""
    a, b = new["metadata"], old["metadata"]
    if a.get("managedFields") == b.get("managedFields") or not _same_but_times(a.get("managedFields"), b.get("managedFields")):
        return
    if any(new.get(k) != old.get(k) for k in new.keys() | old.keys() if k != "metadata"):
        return
    skip = ("managedFields", "resourceVersion")
    if all(a.get(k) == b.get(k) for k in a.keys() | b.keys() if k not in skip):
        a["managedFields"] = b["managedFields"]


def _same_but_times(a: list[Obj] | None, b: list[Obj] | None) -> bool:
    if not a or not b or len(a) != len(b):
        return False
    keyed = [{k: v for k, v in e.items() if k != "time"} for e in b]
    return all({k: v for k, v in e.items() if k != "time"} in keyed for e in a)
