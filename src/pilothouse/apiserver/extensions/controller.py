"""From definitions to served resources.

`Extensions` hears of every change of a definition from the watch cache, at the turn of the loop in which it is committed: conditions
are written, then the resource is served. Each API server of a store does so for itself; who loses a race for the status finds it right.
A change costs what it is about: other definitions are looked at again only when names that they wait for have become free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.crd import definition
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admit import Chain
from pilothouse.apiserver.deleteoptions import DeleteOptions
from pilothouse.apiserver.deletion import Deleter, Deletion
from pilothouse.apiserver.extensions import conditions
from pilothouse.apiserver.extensions.served import CustomServed, Terminating
from pilothouse.apiserver.interface import LOOPBACK
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.watchcache import DELETED, ResourceCache
from pilothouse.clock import rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.extensions.conversion import Conversion
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)
#: What could not be deleted or written is tried again after so long.
_RETRY_SECONDS = 5.0


class Extensions:
    """The custom resources of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        #: Deletes without asking admission: whoever deleted the definition was asked.
        self._deleter = Deleter(server.storage, Chain(()), server.clock)
        self._names: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: What is served: by the definition's name, the form of its spec and names, and its resources.
        self._served: dict[str, tuple[Any, list[Resource]]] = {}
        self._in_use = conditions.NamesInUse()
        #: Definitions that wait for names which others have, by group.
        self._waiting: dict[str, set[str]] = {}
        #: What is emptying the definitions that are being deleted, by name.
        self._emptying: dict[str, asyncio.Task[None]] = {}

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
            self._in_use.learn(crd)
            if definition.is_true(crd, "Established"):
                await self._serve(crd)
            self._note(crd["metadata"]["name"])
        self._cache.subscribe(self._changed)
        self._task = asyncio.create_task(self._run(), name="custom-resources")

    async def stop(self) -> None:
        tasks = [*self._emptying.values(), *((self._task,) if self._task is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _cache(self) -> ResourceCache:
        return self._server.registry.of(definition.GROUP, definition.PLURAL).cache

    def schemas(self, group: str = "", version: str = "") -> dict[tuple[str, str, str], Obj]:
        """The OpenAPI schemas of what is served (in one group and version), by group, version and kind."""
        versions = self._server.registry.versions
        if group and version:
            found: Iterable[Served] = versions.get((group, version), {}).values()
        else:
            found = (s for (g, _), plurals in versions.items() if group in ("", g) for s in plurals.values())
        return {(s.resource.group, s.resource.version, s.resource.kind): s.openapi for s in found if isinstance(s, CustomServed)}

    # --- following ------------------------------------------------------------------------------------------------------------

    def _changed(self, event: str, crd: Obj, previous: Obj | None) -> None:
        name, group = crd["metadata"]["name"], crd["spec"]["group"]
        if event == DELETED:
            self._withdraw(name)
            self._wait(name, group, False)
            freed = self._in_use.forget(name)
        else:
            freed = self._in_use.learn(crd)
            self._note(name)
        if freed:
            for waiting in self._waiting.get(group, ()):
                self._note(waiting)

    def _wait(self, name: str, group: str, waits: bool) -> None:
        if waits:
            self._waiting.setdefault(group, set()).add(name)
        elif name in self._waiting.get(group, ()):
            self._waiting[group].remove(name)
            if not self._waiting[group]:
                del self._waiting[group]

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
                except StatusError as error:  # a webhook may be in the way for a while
                    log.warning("custom resource definition %s: %s", name, error)
                    self._server.clock.call_later(_RETRY_SECONDS, partial(self._note, name))
                except (KeyError, ValueError):
                    log.exception("custom resource definition %s", name)

    async def _reconcile(self, name: str) -> None:
        entry = self._cache.get("", name)
        if entry is None:
            return
        crd = entry.obj
        if crd["metadata"].get("deletionTimestamp"):
            await self._finalize(crd)
            return
        status = conditions.status_of(crd, self._in_use, rfc3339(self._server.clock.now()))
        self._wait(name, crd["spec"]["group"], not definition.is_true({"status": status}, "NamesAccepted"))
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
        if known is not None and known[0][:2] + known[0][3:] == form[:2] + form[3:]:
            self._served[name] = (form, known[1])  # nothing new but that it is being deleted
            self._hook(known[1])
            return
        cache = self._make_cache(crd)
        if cache.prefix not in server.feed.caches:
            await server.feed.load(cache)
        since = int(crd["metadata"]["resourceVersion"])
        if known is not None:
            if known[0][0] == form[0]:
                since = min(since, self._since(known[1], since))
            server.registry.withdraw(known[1])
            cache.end_listeners()
        selectable = _selectable(crd)
        resources = definition.resources_of(crd)
        stored = definition.version_of(crd, definition.storage_version(crd))
        conversion = self._conversion(crd)
        for resource in resources:
            version = definition.version_of(crd, resource.version)
            served = CustomServed(resource, cache, version, stored, selectable, since, conversion)
            server.registry.put(served)
        if terminating:
            self._hook(resources)
        self._served[name] = (form, resources)
        self._forget(crd["spec"]["group"])

    def _conversion(self, crd: Obj) -> Conversion | None:
        if (crd["spec"].get("conversion") or {}).get("strategy") != "Webhook":
            return None
        from pilothouse.apiserver.extensions.conversion import Conversion

        return Conversion(self._server, crd)

    def _hook(self, resources: list[Resource]) -> None:
        for resource in resources:
            served = self._server.registry.find(resource.group, resource.version, resource.plural)
            if served is not None:
                served.hook = Terminating(resource)

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
        if name in self._emptying:
            self._emptying[name].cancel()
        known = self._served.pop(name, None)
        if known is None:
            return
        self._server.registry.withdraw(known[1])
        for resource in known[1]:
            cache = self._server.registry.caches.pop(resource.prefix, None)
            if cache is not None:
                cache.end_listeners()
                self._server.feed.caches.pop(cache.prefix, None)
        self._forget(name.partition(".")[2])

    def _forget(self, group: str) -> None:
        self._server.chain.planner.forget()
        self._server.paths.forget(group)

    # --- emptying -------------------------------------------------------------------------------------------------------------

    async def _finalize(self, crd: Obj) -> None:
        """Delete the objects of a definition that is being deleted, then let it go."""
        if definition.FINALIZER not in (crd["metadata"].get("finalizers") or ()):
            return
        name, now = crd["metadata"]["name"], rfc3339(self._server.clock.now())
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        cache = self._server.registry.caches.get(f"{group}/{plural}")
        if definition.is_true(crd, "Established") and cache is not None:
            await self._serve(crd)
            told = "CustomResource deletion is in progress"
            status = conditions.with_condition(crd, "Terminating", "True", "InstanceDeletionInProgress", told, now)
            if status != crd["status"] and cache.entries:
                await self._write(crd, status)
                return
            if cache.entries:
                if name not in self._emptying:
                    self._emptying[name] = asyncio.create_task(self._empty(crd, cache), name=f"emptying-{name}")
                return
        status = conditions.with_condition(crd, "Terminating", "False", "InstanceDeletionCompleted", "removed all instances", now)
        await self._write(crd, status, drop_finalizer=True)

    async def _empty(self, crd: Obj, cache: ResourceCache) -> None:
        """Delete the objects, and wait until those that finalizers hold are gone; then the definition is looked at again."""
        name, gone = crd["metadata"]["name"], asyncio.Event()

        def told(event: str, obj: Obj, previous: Obj | None) -> None:
            if event == DELETED and not cache.entries:
                gone.set()

        cache.subscribe(told)
        try:
            served = self._stored(crd, cache)
            for entry in list(cache.entries.values()):
                await self._delete(served, entry.obj["metadata"])
            while cache.entries:
                gone.clear()
                await gone.wait()
        except StatusError:
            log.exception("objects of custom resource definition %s", name)
            await self._server.clock.sleep(_RETRY_SECONDS)
        finally:
            del self._emptying[name]
            cache.unsubscribe(told)
            self._note(name)

    async def _delete(self, served: Served, metadata: Obj) -> None:
        deletion = Deletion(served, metadata.get("namespace", ""), metadata["name"], LOOPBACK, DeleteOptions(), [])
        try:
            await self._deleter.delete(deletion)
        except StatusError as error:
            if error.code != 404:
                raise

    def _stored(self, crd: Obj, cache: ResourceCache) -> Served:
        """The objects in the version that they are stored in, be it served or not: nothing has to be converted."""
        spec, version = crd["spec"], definition.storage_version(crd)
        found = self._server.registry.find(spec["group"], version, spec["names"]["plural"])
        if found is not None:
            return found
        stored = definition.version_of(crd, version)
        only = {**crd, "spec": {**spec, "versions": [{**stored, "served": True}]}}
        return CustomServed(definition.resources_of(only)[0], cache, stored, stored, (), 0)


def _selectable(crd: Obj) -> tuple[str, ...]:
    """The selectable fields of all versions, as field selectors name them."""
    paths = [f["jsonPath"].removeprefix(".") for v in crd["spec"]["versions"] for f in v.get("selectableFields") or ()]
    return tuple(dict.fromkeys(paths))


def _extractor(names: tuple[str, ...]) -> Any:
    if not names:
        return None
    from pilothouse.api.crd.strategy import field_values

    return lambda obj: field_values(obj, names)
