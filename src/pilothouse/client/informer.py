"""Informers: a local copy of one resource, kept up to date by a list and a watch, with indexes and handlers.

The copy holds the transport's objects as they came (in process they are the hub's own): nobody may change them. When the watch ends it
is resumed from the last revision; when that is gone (410) the resource is listed anew and the differences are told as events. The server
is asked to end each watch after five to ten minutes, so that a connection that died unnoticed is not waited on for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from pilothouse.api.errors import StatusError
from pilothouse.client.client import error_of, page_of
from pilothouse.client.interface import Obj, Transport, WatchEvent
from pilothouse.clock import Clock, Timer

log = logging.getLogger("pilothouse.client")

#: Called with the object before and after; None where there was or is none.
Handler = Callable[[Obj | None, Obj | None], None]
Key = tuple[str, str]

FIRST_RETRY, LONGEST_RETRY = 0.2, 30.0
WATCH_SECONDS = 300
#: A watch that ends sooner than this, with nothing told, is begun again after a pause.
SHORT_WATCH = 1.0
PAGE = 500


def key_of(obj: Obj) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Informer:
    """The objects of one resource (and, with `query`, of one selector), by namespace and name."""

    def __init__(
        self, transport: Transport, clock: Clock, path: str, query: dict[str, str] | None = None, resync: float = 0.0
    ) -> None:
        """`resync`: seconds after which handlers are told of every object again, as of a change to itself (0: never)."""
        self.path = path
        self._resync = resync
        self._transport = transport
        self._clock = clock
        self._query = query or {}
        self._objects: dict[Key, Obj] = {}
        self._by_namespace: dict[str, dict[str, Obj]] = {}
        self._indexers: dict[str, Callable[[Obj], Iterable[str]]] = {}
        self._indexes: dict[str, dict[str, dict[Key, Obj]]] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._revision = ""
        self._timer: Timer | None = None

    # --- reading ---------------------------------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Obj | None:
        return self._objects.get((namespace, name))

    def list(self, namespace: str = "") -> Iterable[Obj]:
        """All objects, or those of one namespace."""
        return list(self._by_namespace.get(namespace, {}).values()) if namespace else list(self._objects.values())

    def indexed(self, index: str, value: str) -> Iterable[Obj]:
        """The objects for which the index's function gave this value."""
        return list(self._indexes[index].get(value, {}).values())

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def synced(self) -> bool:
        """Whether everything that existed at the start is here."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    # --- setting up --------------------------------------------------------------------------------------------------------------

    def add_index(self, name: str, values: Callable[[Obj], Iterable[str]]) -> None:
        """Keep an index; an object may give a value several times. Asking for the same one again changes nothing."""
        if name in self._indexers:
            return
        self._indexers[name] = values
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            for value in values(obj):
                self._indexes[name].setdefault(value, {})[key] = obj

    def add_handler(self, handler: Handler) -> None:
        """Tell this handler every change, and first what is here already."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            self._tell(handler, None, obj)

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    # --- following ---------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """List and watch until cancelled."""
        if self._resync:
            self._timer = self._clock.call_later(self._resync, self._tell_all)
        try:
            await self._list_and_watch()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _list_and_watch(self) -> None:
        pause = FIRST_RETRY
        while True:
            try:
                if not self._revision:
                    await self._relist()
                if await self._follow():
                    pause = FIRST_RETRY
                    continue
                log.info("the watch of %s ended at once; trying again in %.1f s", self.path, pause)
            except StatusError as error:
                if error.code == 410:
                    self._revision = ""
                log.warning("watching %s: %s; trying again in %.1f s", self.path, error.message, pause)
            except OSError as error:
                log.info("watching %s: %s; trying again in %.1f s", self.path, error, pause)
            await self._clock.sleep(pause * (1 + self._clock.random.random() / 10))
            pause = min(pause * 2, LONGEST_RETRY)

    async def _relist(self) -> None:
        items, revision = await list_all(self._transport, self.path, self._query)
        fresh = {key_of(o): o for o in items}
        for key in [k for k in self._objects if k not in fresh]:
            self._apply(key, None)
        for key, obj in fresh.items():
            known = self._objects.get(key)
            if known is None or known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                self._apply(key, obj)
        self._revision = revision
        self._synced.set()

    async def _follow(self) -> bool:
        """One watch, to its end. Whether it was of any use."""
        seconds = int(WATCH_SECONDS * (1 + self._clock.random.random()))
        query = {**self._query, "resourceVersion": self._revision, "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        began, before = self._clock.monotonic(), self._revision
        async for batch in self._transport.watch(self.path, query):
            for event in batch:
                self._take(event)
        return self._revision != before or self._clock.monotonic() - began >= SHORT_WATCH

    def _take(self, event: WatchEvent) -> None:
        obj = event.object
        if event.type == "ERROR":
            self._revision = ""
            raise StatusError(obj.get("code", 500), obj.get("reason", ""), obj.get("message", "watch failed"))
        self._revision = obj["metadata"]["resourceVersion"]
        if event.type != "BOOKMARK":
            self._apply(key_of(obj), None if event.type == "DELETED" else obj, obj)

    def _apply(self, key: Key, obj: Obj | None, last: Obj | None = None) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        if obj is not None:
            self._objects[key] = obj
            self._by_namespace.setdefault(key[0], {})[key[1]] = obj
            for name, values in self._indexers.items():
                for value in values(obj):
                    self._indexes[name].setdefault(value, {})[key] = obj
        elif old is None:
            return
        before = last if obj is None and last is not None else old
        for handler in tuple(self._handlers):
            self._tell(handler, before, obj)

    def _tell(self, handler: Handler, before: Obj | None, obj: Obj | None) -> None:
        """A handler that fails must not stop the others, nor the informer."""
        try:
            handler(before, obj)
        except Exception:
            log.exception("a handler of %s failed", self.path)

    def _tell_all(self) -> None:
        self._timer = self._clock.call_later(self._resync, self._tell_all)
        for obj in list(self._objects.values()):
            for handler in tuple(self._handlers):
                self._tell(handler, obj, obj)

    def _unindex(self, key: Key, old: Obj) -> None:
        namespace = self._by_namespace[key[0]]
        del namespace[key[1]]
        if not namespace:
            del self._by_namespace[key[0]]
        for name, values in self._indexers.items():
            index = self._indexes[name]
            for value in set(values(old)):
                members = index[value]
                del members[key]
                if not members:
                    del index[value]


async def list_all(transport: Transport, path: str, query: dict[str, str] | None = None) -> tuple[list[Obj], str]:
    """All objects under a path, read in pages, with the revision that they were read at. StatusError as the server answers."""
    items: list[Obj] = []
    token = ""
    while True:
        wanted = {**(query or {}), "limit": str(PAGE), **({"continue": token} if token else {})}
        answer = await transport.request("GET", path, wanted)
        if answer.status != 200:
            raise error_of(answer.body, answer.status)
        page = page_of(answer.body)
        items += page.items
        token = page.continue_
        if not token:
            return items, page.resource_version


class InformerFactory:
    """Shared informers: one per path, however many ask. `run` follows them all; new ones join as they are asked for."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._informers: dict[str, Informer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(self, path: str) -> Informer:
        """The informer of a collection's path, such as /api/v1/pods."""
        found = self._informers.get(path)
        if found is None:
            found = self._informers[path] = Informer(self._transport, self._clock, path)
            if self._group is not None:
                self._tasks[path] = self._group.create_task(found.run(), name=f"informer {path}")
        return found

    def drop(self, path: str) -> None:
        """Stop following a path."""
        self._informers.pop(path, None)
        task = self._tasks.pop(path, None)
        if task is not None:
            task.cancel()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for path, informer in self._informers.items():
                self._tasks[path] = group.create_task(informer.run(), name=f"informer {path}")
            await asyncio.Event().wait()
