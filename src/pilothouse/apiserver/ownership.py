"""Between the write path and `api.apply`: who owns which field, in which version's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import orjson

from pilothouse.api import apply as ssa
from pilothouse.api import empties
from pilothouse.api.apply.conform import conforms
from pilothouse.api.errors import Obj
from pilothouse.api.schema import Schema

if TYPE_CHECKING:
    from pilothouse.apiserver.registry import Registry, Served
    from pilothouse.apiserver.writes import Call

T = TypeVar("T")
Versions = Callable[[str], "tuple[Schema, Callable[[Obj], Obj]] | None"]


def versions_of(registry: Registry, served: Served) -> Versions:
    """How to see an object of `served` in another version in which somebody owns fields of it.

    Only versions of its own group: a core event cannot be seen as one of events.k8s.io, whose owners are forgotten by a write here.
    """
    resource = served.resource
    memory: dict[tuple[str, bytes], Obj] = {}

    def find(api_version: str) -> tuple[Schema, Callable[[Obj], Obj]] | None:
        group, _, version = api_version.rpartition("/")
        other = registry.find(group, version, resource.plural)
        if other is None or other.cache is not served.cache or group != resource.group:
            return None
        if served.converting:
            return other.schema, lambda obj: _remembered(memory, obj, served, other)
        return other.schema, lambda obj: other.from_stored(served.to_stored(obj))

    return find


class Unconverted(Exception):
    """An object has to be seen in a version that only a webhook can show: `fetch`, then try again."""

    def __init__(self, memory: dict[tuple[str, bytes], Obj], key: tuple[str, bytes], served: Served, other: Served) -> None:
        self._memory, self._key, self._served, self._other = memory, key, served, other

    async def fetch(self) -> None:
        self._memory[self._key] = await self._served.converted(orjson.loads(self._key[1]), self._other)


def _remembered(memory: dict[tuple[str, bytes], Obj], obj: Obj, served: Served, other: Served) -> Obj:
    key = (other.resource.api_version, orjson.dumps(obj))
    found = memory.get(key)
    if found is None:
        raise Unconverted(memory, key, served, other)
    return found


async def settled(work: Callable[[], T]) -> T:
    """What `work` gives when everything that it wants to see converted is. It may be called again and again."""
    while True:
        try:
            return work()
        except Unconverted as missing:
            await missing.fetch()


def track(call: Call, new: Obj, old: Obj | None, now: float) -> None:
    """Write into `new` who owns what after this write. Server-side apply has done so already.

    Only then may empty lists become null: who sent one owns it. Those of new objects stay until they are checked, because messages show them.
    """
    if call.apply_manager is None and call.tracked:
        _track_update(call, new, old, now)
    if old is not None:
        empties.to_null(new, call.served.schema)


def _trackable(call: Call, new: Obj, old: Obj | None) -> bool:
    """Whether a custom resource has the shape of every version in which somebody owns fields of it, before and after.

    Where a webhook converts, what it makes has been held against the other version's schema.
    """
    schemas = {call.served.resource.api_version: call.served.schema}
    owned = (old or {}).get("metadata", {}).get("managedFields") or ()
    if call.versions is not None and not call.served.converting:
        for api_version in {entry["apiVersion"] for entry in owned} - schemas.keys():
            found = call.versions(api_version)
            if found is not None:
                schemas[api_version] = found[0]
    return all(conforms(schema, obj) for schema in schemas.values() for obj in (old, new) if obj is not None)


def _track_update(call: Call, new: Obj, old: Obj | None, now: float) -> None:
    served = call.served
    if served.custom and not _trackable(call, new, old):
        new["metadata"].pop("managedFields", None)
        return
    ssa.track_update(
        new,
        old,
        served.schema,
        call.manager,
        api_version=served.resource.api_version,
        now=now,
        subresource=call.subresource,
        reset_fields=served.strategy.reset_fields.get(call.subresource, ()),
        versions=call.versions,
    )
