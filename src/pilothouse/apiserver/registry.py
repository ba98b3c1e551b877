"""What is served: every resource with its rules, its schema and its cache, found by group, version and plural.

Several versions of a resource (and, for events, several groups) share one store prefix and one cache; each `Served` is one
version's view of it. Schemas and strategies are loaded when a resource is first used, so that starting costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import orjson

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.api.schema import Schema
from pilothouse.api.strategy import Strategy
from pilothouse.apiserver.entries import Decoded, Entry, encode, head_of
from pilothouse.apiserver.interface import SpecialRequest, WriteHook
from pilothouse.apiserver.watchcache import Extract, ResourceCache

#: The field by which a cache is indexed, for field selectors that ask for one value of it.
INDEXED = {("", "pods"): "spec.nodeName", ("resource.k8s.io", "resourceslices"): "spec.nodeName"}

#: So many valid new objects of a kind are remembered.
VALID_LIMIT = 512

Special = Callable[[SpecialRequest], Any]


class Served:
    """One resource in one version, as requests meet it."""

    #: A resource of the users' own: patches and unknown paths are answered in other words.
    custom = False
    #: Its objects can be written as protobuf.
    protobuf = True
    #: Objects may have to be converted by somebody else before they can be looked at: ask `ready` first, and `to_store` for `to_stored`.
    converting = False

    def __init__(self, resource: Resource, cache: ResourceCache | None, load_strategy: Callable[[Resource], Strategy],
                 load_schema: Callable[[str, str, str], Schema], stored_kind: str) -> None:  # fmt: skip
        self.resource = resource
        self._cache = cache
        self._load_strategy = load_strategy
        self._load_schema = load_schema
        group, version = resource.storage if resource.storage != ("", "") else (resource.group, resource.version)
        self.stored_api_version = f"{group}/{version}" if group else version
        self.stored_kind = stored_kind
        self.same_version = self.stored_api_version == resource.api_version
        self.head = head_of(resource.kind, resource.api_version)
        #: How many bytes of an encoded object come before what a list item begins with.
        self.item_offset = len(self.head) - len(b'"metadata":{')
        #: Where an encoded object's metadata begins.
        self.metadata_offset = len(self.head) - 1
        self.list_kind = resource.list_kind or resource.kind + "List"
        self.hook: WriteHook | None = None
        self.ttl = 0
        self._special: dict[str, Special] = {}
        #: New objects that were valid, by their strategy's validation key, with the warnings that they deserve.
        self.valid: dict[bytes, tuple[str, ...]] = {}

    def remember_valid(self, key: bytes, warnings: tuple[str, ...]) -> None:
        if len(self.valid) >= VALID_LIMIT:
            self.valid.clear()
        self.valid[key] = warnings

    @property
    def cache(self) -> ResourceCache:
        assert self._cache is not None, f"{self.resource.plural} are not stored"
        return self._cache

    @property
    def stored(self) -> bool:
        return self._cache is not None

    @cached_property
    def strategy(self) -> Strategy:
        return self._load_strategy(self.resource)

    @cached_property
    def schema(self) -> Schema:
        return self._load_schema(self.resource.group, self.resource.version, self.resource.kind)

    # --- versions -------------------------------------------------------------------------------------------------------------

    def encoded(self, entry: Entry) -> bytes:
        """The entry's JSON in this version."""
        return entry.encoded if self.same_version else orjson.dumps(self.obj(entry))

    def item(self, entry: Entry) -> Any:
        """The entry's JSON as it stands in a list: without kind and apiVersion, and without the opening brace."""
        return memoryview(self.encoded(entry))[self.item_offset :]

    def obj(self, entry: Entry) -> Obj:
        """The entry's object in this version. Shared, where the version is the stored one: never change it."""
        return entry.obj if self.same_version else self.from_stored(entry.fresh())

    def fresh(self, entry: Entry) -> Obj:
        """A copy in this version, the caller's own."""
        return entry.fresh() if self.same_version else self.from_stored(entry.fresh())

    def from_stored(self, obj: Obj) -> Obj:
        out = self.strategy.convert(obj, self.resource.api_version)
        return _labelled(out, self.resource.kind, self.resource.api_version)

    def to_stored(self, obj: Obj) -> Obj:
        """An object of this version as it is stored. The object may be changed."""
        if self.same_version:
            return obj
        return _labelled(self.strategy.convert(obj, self.stored_api_version), self.stored_kind, self.stored_api_version)

    # --- versions that a webhook converts -----------------------------------------------------------------------------------------

    async def ready(self, entries: Iterable[Entry]) -> Served:
        """A view of the same resource in which these entries can be looked at. StatusError where they cannot be converted."""
        return self

    async def to_store(self, obj: Obj) -> Obj:
        """`to_stored`, by whoever converts."""
        return self.to_stored(obj)

    async def converted(self, obj: Obj, other: Served) -> Obj:
        """An object of this version, which may be changed, in another one."""
        return other.from_stored(self.to_stored(obj))

    def value(self, stored: Obj) -> bytes:
        """The store's bytes for an object of the stored version."""
        return encode(stored, self.stored_kind, self.stored_api_version)

    def labelled(self, obj: Obj) -> Obj:
        """The object with this version's kind and apiVersion, first."""
        return _labelled(obj, self.resource.kind, self.resource.api_version)

    def response_bytes(self, obj: Obj) -> bytes:
        """An object that is not stored (dry run, final state) as JSON in canonical order."""
        return orjson.dumps(self.labelled(obj))

    def field_index(self, field: str) -> int:
        """Where entries keep a selectable field's value. Fields are extracted as the stored version names them."""
        return self.strategy.selectable.index(field)

    def key(self, namespace: str, name: str) -> str:
        return self.resource.key(namespace, name)

    # --- special endpoints ------------------------------------------------------------------------------------------------------

    def special(self, subresource: str) -> Special | None:
        return self._special.get(subresource)

    def set_special(self, subresource: str, handler: Special) -> None:
        self._special[subresource] = handler


def _labelled(obj: Obj, kind: str, api_version: str) -> Obj:
    """The same object with kind and apiVersion first."""
    out: Obj = {"kind": kind, "apiVersion": api_version, "metadata": obj.get("metadata", {})}
    out.update((k, v) for k, v in obj.items() if k not in out)
    return out


class Registry:
    """All served resources."""

    def __init__(self, resources: Iterable[Resource], load_strategy: Callable[[Resource], Strategy],
                 load_schema: Callable[[str, str, str], Schema], decoded: Decoded) -> None:  # fmt: skip
        self._load_strategy = load_strategy
        self._load_schema = load_schema
        self.decoded = decoded
        self._schemas: dict[tuple[str, str, str], Schema] = {}
        #: (group, version) -> plural -> Served
        self.versions: dict[tuple[str, str], dict[str, Served]] = {}
        #: (group, plural) -> Served in the preferred version
        self.preferred: dict[tuple[str, str], Served] = {}
        self.groups: set[str] = set()
        #: Groups with custom resources in them.
        self.custom_groups: set[str] = set()
        self.caches: dict[str, ResourceCache] = {}
        self._equivalents: dict[Resource, tuple[Resource, ...]] = {}
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> Served:
        """Serve a resource; the first version added of a resource is the preferred one."""
        cache = self._cache_for(resource) if resource.prefix else None
        served = Served(resource, cache, self._load_strategy, self._load_schema, resource.kind)
        self.put(served)
        return served

    def put(self, served: Served) -> None:
        """Serve a resource in a version; the first version of a resource is the preferred one."""
        resource = served.resource
        self._equivalents.clear()
        self.versions.setdefault((resource.group, resource.version), {})[resource.plural] = served
        self.preferred.setdefault(resource.group_resource, served)
        self.groups.add(resource.group)
        if served.custom:
            self.custom_groups.add(resource.group)

    def withdraw(self, resources: Iterable[Resource]) -> None:
        """Stop serving resources."""
        for resource in resources:
            self.remove(resource)

    def remove(self, resource: Resource) -> None:
        """Stop serving a resource."""
        self._equivalents.clear()
        plurals = self.versions.get((resource.group, resource.version), {})
        plurals.pop(resource.plural, None)
        if not plurals:
            self.versions.pop((resource.group, resource.version), None)
        if not any(group == resource.group for group, _ in self.versions):
            self.groups.discard(resource.group)
            self.custom_groups.discard(resource.group)
        self.preferred.pop(resource.group_resource, None)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        plurals = self.versions.get((group, version))
        return plurals.get(plural) if plurals else None

    def of(self, group: str, plural: str, version: str = "") -> Served:
        """A resource that must be there (KeyError if it is not): for the hub's own use."""
        return self.versions[(group, version)][plural] if version else self.preferred[(group, plural)]

    def equivalents(self, resource: Resource) -> tuple[Resource, ...]:
        """The other resources that are stored in the same place: other versions, and events of the other group."""
        found = self._equivalents.get(resource)
        if found is None:
            others = (s.resource for s in self.everything() if resource.prefix and s.resource.prefix == resource.prefix)
            found = self._equivalents[resource] = tuple(r for r in others if r != resource)
        return found

    def schema(self, group: str, version: str, kind: str) -> Schema:
        """The schema of any kind, served or (options, reviews, subresources' bodies) not."""
        key = (group, version, kind)
        found = self._schemas.get(key)
        if found is None:
            found = self._schemas[key] = self._load_schema(group, version, kind)
        return found

    def resources(self) -> list[Resource]:
        """What is served, for discovery."""
        return [s.resource for s in self.everything()]

    def everything(self) -> Iterable[Served]:
        for plurals in self.versions.values():
            yield from plurals.values()

    def _cache_for(self, resource: Resource) -> ResourceCache:
        cache = self.caches.get(resource.prefix)
        if cache is None:
            group, version = resource.storage if resource.storage != ("", "") else (resource.group, resource.version)
            api_version = f"{group}/{version}" if group else version
            index_name = INDEXED.get(resource.group_resource, "")
            cache = ResourceCache(
                resource.prefix, resource.kind, api_version, resource.namespaced, self.decoded, lambda: self._fields_of(resource), index_name
            )  # fmt: skip
            self.caches[resource.prefix] = cache
        return cache

    def _fields_of(self, resource: Resource) -> tuple[Extract | None, int | None]:
        strategy = self._load_strategy(resource)
        names = strategy.selectable
        if not names:
            return None, None
        wanted = INDEXED.get(resource.group_resource)
        index = names.index(wanted) if wanted in names else None

        def extract(obj: Obj) -> tuple[str, ...]:
            values = strategy.fields(obj)
            return tuple([values.get(name, "") for name in names])

        return extract, index
