"""From definitions to served resources.

`Extensions` hears of every change of a definition from the watch cache, at the turn of the loop in which it is committed: conditions
are written, then the resource is served. Each API server of a store does so for itself; who loses a race for the status finds it right.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.crd import definition
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.apiserver.extensions import conditions
from pilothouse.apiserver.extensions.served import CustomServed, Terminating
from pilothouse.apiserver.watchcache import DELETED, ResourceCache
from pilothouse.clock import rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.extensions.conversion import Conversion
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)
_TRIES = 10


class Extensions:
    """The custom resources of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._names: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: What is served: by the definition's name, the form of its spec and names, and its resources.
        self._served: dict[str, tuple[Any, list[Resource]]] = {}
        #: Definitions by the group and plural that they define.
        self._emptying: dict[str, str] = {}

    # --- life -----------------------------------------------------------------------------------------------------------------

    async def preload(self) -> None:
        """Before the feed starts: the caches of all established definitions, so that one pass loads everything."""
        store, start = self._server.options.store, ""
        prefix = self._cache.prefix
        while True:
            page = await store.range(prefix, start, 500)
            for kv in page.kvs:
                crd = orjson.loads(kv.value)
                if definition.is_true(crd, "Established"):
                    self._server.feed.add(self._make_cache(crd))
            if not page.more:
                return
            start = page.kvs[-1].key + "\0"

    async def start(self) -> None:
        """Serve what is there, and follow."""
        for entry in self._cache.list():
            crd = entry.obj
            if definition.is_true(crd, "Established"):
                await self._serve(crd)
            self._note(crd["metadata"]["name"])
        self._cache.subscribe(self._changed)
        self._task = asyncio.create_task(self._run(), name="custom-resources")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _cache(self) -> ResourceCache:
        return self._server.registry.of(definition.GROUP, definition.PLURAL).cache

    def schemas(self, group: str = "", version: str = "") -> dict[tuple[str, str, str], Obj]:
        """The OpenAPI schemas of what is served (in one group and version), by group, version and kind."""
        out = {}
        for _, resources in self._served.values():
            for r in resources:
                served = self._server.registry.find(r.group, r.version, r.plural)
                if isinstance(served, CustomServed) and (not group or (r.group, r.version) == (group, version)):
                    out[(r.group, r.version, r.kind)] = served.openapi
        return out

    # --- following ------------------------------------------------------------------------------------------------------------

    def _changed(self, event: str, crd: Obj, previous: Obj | None) -> None:
        name = crd["metadata"]["name"]
        if event == DELETED:
            self._withdraw(name)
            for entry in self._cache.list():  # names have become free
                if entry.obj["spec"]["group"] == crd["spec"]["group"]:
                    self._note(entry.obj["metadata"]["name"])
            return
        self._note(name)

    def _note(self, name: str) -> None:
        self._names[name] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._names:
                name = next(iter(self._names))
                del self._names[name]
                try:
                    await self._reconcile(name)
                except (StatusError, KeyError, ValueError):
                    log.exception("custom resource definition %s", name)

    async def _reconcile(self, name: str) -> None:
        entry = self._cache.get("", name)
        if entry is None:
            return
        crd = entry.obj
        if crd["metadata"].get("deletionTimestamp"):
            await self._finalize(crd)
            return
        others = [e.obj for e in self._cache.list()]
        status = conditions.status_of(crd, others, rfc3339(self._server.clock.now()))
        if status != crd.get("status"):
            await self._write(crd, status)  # its event brings the definition back here
            return
        if definition.is_true(crd, "Established"):
            await self._serve(crd)

    async def _write(self, crd: Obj, status: Obj, drop_finalizer: bool = False) -> None:
        new: Obj = {**crd, "status": status}
        if drop_finalizer:
            metadata = {**crd["metadata"]}
            metadata["finalizers"] = [f for f in metadata.get("finalizers") or () if f != definition.FINALIZER]
            new["metadata"] = metadata
        try:
            await self._server.update(definition.GROUP, definition.PLURAL, new, subresource="status")
        except StatusError as error:
            if error.code not in (404, 409):
                raise
            self._note(crd["metadata"]["name"])

    # --- serving --------------------------------------------------------------------------------------------------------------

    async def _serve(self, crd: Obj) -> None:
        """Serve the definition's resources as it now is."""
        server, name = self._server, crd["metadata"]["name"]
        terminating = bool(crd["metadata"].get("deletionTimestamp"))
        form = (
            orjson.dumps(crd["spec"]),
            orjson.dumps(crd["status"].get("acceptedNames")),
            terminating,
            crd["metadata"].get("uid"),
        )
        known = self._served.get(name)
        if known is not None and known[0] == form:
            return
        cache = self._make_cache(crd)
        if cache.prefix not in server.feed.caches:
            await server.feed.load(cache)
        since = int(crd["metadata"]["resourceVersion"])
        if known is not None:
            if known[0][0] == form[0]:
                since = min(since, self._since(known[1], since))
            server.registry.withdraw(known[1])
        selectable = _selectable(crd)
        resources = definition.resources_of(crd)
        stored = definition.version_of(crd, definition.storage_version(crd))
        conversion = self._conversion(crd)
        for resource in resources:
            version = definition.version_of(crd, resource.version)
            served = CustomServed(resource, cache, version, stored, selectable, since, conversion)
            if terminating:
                served.hook = Terminating(resource)
            server.registry.put(served)
        self._served[name] = (form, resources)
        self._forget()

    def _conversion(self, crd: Obj) -> Conversion | None:
        if (crd["spec"].get("conversion") or {}).get("strategy") != "Webhook":
            return None
        from pilothouse.apiserver.extensions.conversion import Conversion

        return Conversion(self._server, crd)

    def _since(self, resources: list[Resource], otherwise: int) -> int:
        for resource in resources:
            served = self._server.registry.find(resource.group, resource.version, resource.plural)
            if isinstance(served, CustomServed):
                return served.since
        return otherwise

    def _make_cache(self, crd: Obj) -> ResourceCache:
        """The cache of a definition's objects, as the store has them: there is one for all versions."""
        registry = self._server.registry
        spec = crd["spec"]
        prefix = f"{spec['group']}/{spec['names']['plural']}"
        version = definition.storage_version(crd)
        kind = spec["names"]["kind"]
        found = registry.caches.get(prefix)
        names = _selectable(crd)
        if found is None:
            found = ResourceCache(
                prefix,
                kind,
                f"{spec['group']}/{version}",
                spec.get("scope") == "Namespaced",
                registry.decoded,
                lambda: (None, None),
            )
            registry.caches[prefix] = found
        found.mixed = True
        found.restate(kind, f"{spec['group']}/{version}", _extractor(names))
        return found

    def _withdraw(self, name: str) -> None:
        known = self._served.pop(name, None)
        if known is None:
            return
        self._server.registry.withdraw(known[1])
        for resource in known[1]:
            cache = self._server.registry.caches.pop(resource.prefix, None)
            if cache is not None:
                self._server.feed.caches.pop(cache.prefix, None)
        self._forget()

    def _forget(self) -> None:
        self._server.chain.planner.forget()
        self._server.paths.forget()

    # --- emptying -------------------------------------------------------------------------------------------------------------

    async def _finalize(self, crd: Obj) -> None:
        """Delete the objects of a definition that is being deleted, then let it go."""
        if definition.FINALIZER not in (crd["metadata"].get("finalizers") or ()):
            return
        now = rfc3339(self._server.clock.now())
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        cache = self._server.registry.caches.get(f"{group}/{plural}")
        if definition.is_true(crd, "Established") and cache is not None and (group, plural) in self._server.registry.preferred:
            await self._serve(crd)
            told = "CustomResource deletion is in progress"
            status = conditions.with_condition(crd, "Terminating", "True", "InstanceDeletionInProgress", told, now)
            if status != crd["status"] and cache.entries:
                await self._write(crd, status)
                return
            if not await self._emptied(crd["metadata"]["name"], cache, group, plural):
                return
        status = conditions.with_condition(crd, "Terminating", "False", "InstanceDeletionCompleted", "removed all instances", now)
        await self._write(crd, status, drop_finalizer=True)

    async def _emptied(self, name: str, cache: ResourceCache, group: str, plural: str) -> bool:
        """Delete what is there. Whether nothing is left; else the last object's end brings the definition back.

        In the stored version where that is served, so that nothing has to be converted.
        """
        version = cache.api_version.rpartition("/")[2]
        served = self._server.registry.find(group, version, plural)
        for entry in list(cache.entries.values()):
            metadata = entry.obj["metadata"]
            try:
                await self._server.delete(
                    group,
                    plural,
                    metadata["name"],
                    namespace=metadata.get("namespace", ""),
                    version=version if served is not None else "",
                )
            except StatusError as error:
                if error.code != 404:
                    raise
        if not cache.entries:
            return True
        if self._emptying.get(name) != cache.prefix:
            self._emptying[name] = cache.prefix

            def gone(event: str, obj: Obj, previous: Obj | None) -> None:
                if event == DELETED and not cache.entries:
                    self._emptying.pop(name, None)
                    self._note(name)

            cache.subscribe(gone)
        return False


def _selectable(crd: Obj) -> tuple[str, ...]:
    """The selectable fields of all versions, as field selectors name them."""
    paths = [f["jsonPath"].removeprefix(".") for v in crd["spec"]["versions"] for f in v.get("selectableFields") or ()]
    return tuple(dict.fromkeys(paths))


def _extractor(names: tuple[str, ...]) -> Any:
    if not names:
        return None
    from pilothouse.api.crd.strategy import field_values

    return lambda obj: field_values(obj, names)
