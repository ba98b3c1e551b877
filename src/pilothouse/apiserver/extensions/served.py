"""One version of a custom resource, as requests meet it.

What was stored under an older schema, or as another version, is given the defaults of the stored version and pruned by the served one
when it is read; everything else is sent as it was stored, like any built-in kind.
"""

from __future__ import annotations

from functools import cached_property

import orjson

from pilothouse.api.crd.defaults import Defaulter, defaulter
from pilothouse.api.crd.definition import schema_of
from pilothouse.api.crd.strategy import CustomStrategy
from pilothouse.api.crd.structural import root_schema
from pilothouse.api.decode import decoder
from pilothouse.api.errors import Obj, forbidden_error, internal
from pilothouse.api.normalize import Findings
from pilothouse.api.resource import Resource
from pilothouse.api.schema import Schema
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.interface import Finish, WriteHook
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.watchcache import ResourceCache


class CustomServed(Served):
    """`since` is the revision at which the schema became what it is."""

    custom = True

    def __init__(
        self, resource: Resource, cache: ResourceCache, version: Obj, stored: Obj, selectable: tuple[str, ...], since: int
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
        #: Versions are converted by a webhook: objects of another version cannot be read.
        self.webhook = False
        self.item_offset = 1  # items of lists say what they are
        self._stored_as_served = self.same_version
        self.same_version = self._stored_as_served and all(entry.revision > since for entry in cache.entries.values())

    def _current(self, entry: Entry) -> bool:
        """The entry is in this version's form as it is."""
        return self.same_version or (self._stored_as_served and entry.revision > self.since)

    def encoded(self, entry: Entry) -> bytes:
        return entry.encoded if self._current(entry) else orjson.dumps(self.obj(entry))

    def obj(self, entry: Entry) -> Obj:
        return entry.obj if self._current(entry) else self.from_stored(entry.fresh())

    def fresh(self, entry: Entry) -> Obj:
        return entry.fresh() if self._current(entry) else self.from_stored(entry.fresh())

    def from_stored(self, obj: Obj) -> Obj:
        if self.webhook and obj.get("apiVersion") != self.resource.api_version:
            told = f"conversion webhook for {obj.get('apiVersion')}, Kind={self.resource.kind} failed: conversion by webhook is not supported yet"
            raise internal(told)
        metadata = obj["metadata"]
        if self._stored_defaulter is not None:
            self._stored_defaulter(obj)
        out: Obj = decoder(self.schema)({**obj, "metadata": metadata}, Findings())
        return self.labelled(out)

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
