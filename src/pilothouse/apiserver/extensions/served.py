"""One version of a custom resource, as requests meet it.

What was stored under an older schema, or as another version, is given the defaults of the stored version and pruned by the served one
when it is read; everything else is sent as it was stored, like any built-in kind.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from pilothouse.api.crd.defaults import Defaulter, defaulter
from pilothouse.api.crd.definition import schema_of
from pilothouse.api.crd.strategy import CustomStrategy
from pilothouse.api.crd.structural import root_schema
from pilothouse.api.decode import decoder
from pilothouse.api.errors import Obj, StatusError, forbidden_error
from pilothouse.api.normalize import Findings, Mismatch
from pilothouse.api.resource import Resource
from pilothouse.api.schema import Schema
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.interface import Finish, WriteHook
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.watchcache import ResourceCache

if TYPE_CHECKING:
    from pilothouse.apiserver.extensions.conversion import Conversion


class CustomServed(Served):
    """`since` is the revision at which the schema became what it is."""

    custom = True
    protobuf = False

    def __init__(
        self,
        resource: Resource,
        cache: ResourceCache,
        version: Obj,
        stored: Obj,
        selectable: tuple[str, ...],
        since: int,
        conversion: Conversion | None = None,
    ) -> None:
        super().__init__(
            resource,
            cache,
            lambda r: CustomStrategy(r, version, selectable),
            lambda group, v, kind: root_schema(schema_of(version)),
            resource.kind,
        )
        self.since = since
        self.openapi: Obj = schema_of(version)
        self._stored_openapi = schema_of(stored)
        #: What converts between versions, where the definition names a webhook.
        self._conversion = conversion
        self.converting = conversion is not None
        self._at_hand: dict[int, tuple[Entry, bytes]] = {}
        self.item_offset = 1  # items of lists say what they are
        self._stored_as_served = self.same_version
        self.same_version = self._stored_as_served and all(
            entry.revision > since and not entry.version for entry in cache.entries.values()
        )

    def _current(self, entry: Entry) -> bool:
        """The entry is in this version's form as it is."""
        return self.same_version or (self._stored_as_served and entry.revision > self.since and not entry.version)

    def encoded(self, entry: Entry) -> bytes:
        if self._current(entry):
            return entry.encoded
        found = self._at_hand.get(id(entry))
        return found[1] if found is not None else orjson.dumps(self.obj(entry))

    def obj(self, entry: Entry) -> Obj:
        return entry.obj if self._current(entry) else self._seen(entry)

    def fresh(self, entry: Entry) -> Obj:
        return entry.fresh() if self._current(entry) else self._seen(entry)

    def _seen(self, entry: Entry) -> Obj:
        """The entry's object in this version, the caller's own."""
        if not self._foreign(entry):
            if not (self.converting and entry.version):
                return self.from_stored(entry.fresh())
            own = self._pruned(entry.fresh())  # it was stored as this version, which was the stored one then
            self.strategy.default(own)
            return own
        found: Obj = orjson.loads(self._at_hand[id(entry)][1])  # `ready` was asked
        return found

    def from_stored(self, obj: Obj) -> Obj:
        metadata = obj["metadata"]
        if self._stored_defaulter is not None:
            self._stored_defaulter(obj)
        out: Obj = decoder(self.schema)({**obj, "metadata": metadata}, Findings())
        return self.labelled(out)

    # --- versions that a webhook converts -----------------------------------------------------------------------------------------

    def _foreign(self, entry: Entry) -> bool:
        """The webhook has to make this version of it."""
        return self.converting and (entry.version or self.stored_api_version) != self.resource.api_version

    async def ready(self, entries: Iterable[Entry]) -> Served:
        foreign = [e for e in entries if self._foreign(e) and id(e) not in self._at_hand]
        if not foreign:
            return self
        assert self._conversion is not None
        view = copy.copy(self)
        view._at_hand = dict(self._at_hand)
        for version in {e.version for e in foreign}:  # a review is about objects of one version
            group = [e for e in foreign if e.version == version]
            found = await self._conversion.convert([self._to_convert(e) for e in group], self.resource.api_version)
            view._at_hand.update((id(e), (e, orjson.dumps(self._pruned(obj)))) for e, obj in zip(group, found, strict=True))
        return view

    def _to_convert(self, entry: Entry) -> Obj:
        """The object as it was stored, with the defaults of the version that is stored now."""
        obj = entry.fresh()
        if entry.version:
            obj["apiVersion"] = entry.version
            return obj
        return {**self._stored_form(obj), "apiVersion": self.stored_api_version, "kind": self.resource.kind}

    async def to_store(self, obj: Obj) -> Obj:
        if self._conversion is None or self._stored_as_served:
            return self.to_stored(obj)
        [found] = await self._conversion.convert([self.labelled(obj)], self.stored_api_version)
        return super().to_stored(self._stored_form(found))

    async def converted(self, obj: Obj, other: Served) -> Obj:
        if self._conversion is None or not isinstance(other, CustomServed):
            return await super().converted(obj, other)
        [found] = await self._conversion.convert([self.labelled(obj)], other.resource.api_version)
        return other._pruned(found)

    def _pruned(self, obj: Obj) -> Obj:
        """What the webhook made, without what the schema of this version does not know."""
        try:
            return self.labelled(decoder(self.schema)(obj, Findings()))
        except Mismatch as error:
            told = f"conversion webhook for {self.resource.api_version}, Kind={self.resource.kind} returned an invalid object"
            raise StatusError(500, "", f"{told}: {error.text()}") from None

    # --- the stored version's schema --------------------------------------------------------------------------------------------------

    def to_stored(self, obj: Obj) -> Obj:
        return obj if self._stored_as_served else super().to_stored(self._stored_form(obj))

    def _stored_form(self, obj: Obj) -> Obj:
        """The object pruned and defaulted by the schema of the stored version, whose schema it is that counts in the store."""
        out: Obj = decoder(self._stored_schema)(obj, Findings())
        metadata = out["metadata"]
        if self._stored_defaulter is not None:
            self._stored_defaulter(out)
        out["metadata"] = metadata
        return out

    @cached_property
    def _stored_schema(self) -> Schema:
        return self.schema if self._stored_as_served else root_schema(self._stored_openapi)

    @cached_property
    def _stored_defaulter(self) -> Defaulter | None:
        return defaulter(self._stored_openapi)


class Terminating(WriteHook):
    """Nothing new is created of a kind whose definition is being deleted."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    async def begin_create(self, obj: Obj, dry_run: bool) -> Finish | None:
        told = "create not allowed while custom resource definition is terminating"
        raise forbidden_error(self._resource.group, self._resource.plural, obj["metadata"].get("name", ""), told)
