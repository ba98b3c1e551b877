"""The watch cache: the newest state of every resource in order, its recent events, and who wants to hear of them.

One `Feed` follows the store's changes below /registry/ and hands each to the `ResourceCache` of its prefix, in revision order.
There is one path for all engines and for everybody's writes: a write of this server is seen by its own reads because the write
waits (`Feed.reached`) until the feed has passed its revision. Events go to subscribers at once and to watch channels, which
gather what one turn of the event loop brings and write it out together.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from sortedcontainers import SortedDict

from pilothouse.api.errors import Obj
from pilothouse.apiserver.entries import Decoded, Entry, head_of, redate, splice, version_of
from pilothouse.store.interface import Change, KeyValue, Store, Watch

log = logging.getLogger(__name__)

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
REGISTRY = "/registry/"
#: Events remembered for each resource, for watches that resume; those that resume further back are told from the store's history (past.py).
RING = 10_000
RING_BYTES = 16 * 1024 * 1024


class Event:
    """One change. For a deletion `entry` is the last state under the deletion's revision. `frames` is the encoders' memo."""

    __slots__ = ("_cache", "_previous_now", "entry", "frames", "previous", "revision", "type")

    def __init__(self, type: str, entry: Entry, previous: Entry | None, cache: ResourceCache) -> None:
        self.type = type
        self.entry = entry
        self.previous = previous
        self.revision = entry.revision
        self.frames: dict[Any, Any] = {}
        self._cache = cache
        self._previous_now: Entry | None = None

    @property
    def left(self) -> Entry:
        """The previous state under this event's revision: what a watcher whose selector it no longer matches is told was deleted."""
        if self._previous_now is None:
            assert self.previous is not None
            self._previous_now = self._cache.redated(self.previous, self.revision)
        return self._previous_now


class Listener(Protocol):
    """A channel of watchers (watches.py). `offer` says whether there is something to flush at the end of the turn."""

    def offer(self, event: Event) -> None: ...

    def flush(self) -> None: ...

    def end(self) -> None: ...


Extract = Callable[[Obj], tuple[str, ...]]
#: How selectable fields are taken from an object, and the position of the indexed one among them.
LoadFields = Callable[[], tuple[Extract | None, int | None]]


class ResourceCache:
    """All objects of one store prefix. Reads are plain look-ups; only the feed writes."""

    def __init__(self, prefix: str, kind: str, api_version: str, namespaced: bool, decoded: Decoded, fields: LoadFields, index_name: str = "") -> None:  # fmt: skip
        self.index_name = index_name
        self.prefix = f"{REGISTRY}{prefix}/"
        self.head = head_of(kind, api_version)
        self.api_version = api_version
        #: Values may be of several versions, between which somebody else converts.
        self.mixed = False
        self.namespaced = namespaced
        self.entries: SortedDict[str, Entry] = SortedDict()
        self.ring: deque[Event] = deque()
        self.oldest = 0
        self.bytes = 0
        self._ring_bytes = 0
        self._decoded = decoded
        #: Selectable fields are looked up when the first object comes: until then the kind's rules need not be loaded.
        self._load_fields: LoadFields | None = fields
        self._extract: Extract | None = None
        self._index_field: int | None = None
        self._index: dict[str, dict[str, Entry]] = {}
        self._subscribers: list[Callable[[str, Obj, Obj | None], None]] = []
        #: Who listens, by what they can be interested in: everything (""), a namespace's prefix, or one key.
        self.listeners: dict[str, list[Listener]] = {}
        #: Who listens to one value of the indexed field.
        self.index_listeners: dict[str, list[Listener]] = {}

    def restate(self, kind: str, api_version: str, extract: Extract | None) -> None:
        """Objects are stored as another version from now on, or other fields are selectable: entries follow."""
        head, old = head_of(kind, api_version), self.head
        self._load_fields, self._extract, self.head = None, extract, head
        before, self.api_version = self.api_version, api_version
        for entry in self.entries.values():
            if head != old:
                entry.encoded = head + entry.encoded[len(old) :]
                entry.version = "" if entry.version == api_version else entry.version or before
                entry.forget()
            entry.fields = extract(entry.obj) if extract is not None else ()

    # --- reading (the Cache protocol of interface.py, and more) ---------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Entry | None:
        entry: Entry | None = self.entries.get(f"{self.prefix}{namespace}/{name}" if self.namespaced else self.prefix + name)
        return entry

    def by_key(self, key: str) -> Entry | None:
        entry: Entry | None = self.entries.get(key)
        return entry

    def list(self, namespace: str = "") -> Iterable[Entry]:
        if not self.entries:
            return ()
        if namespace and self.namespaced:
            return self.scan(f"{self.prefix}{namespace}/")
        entries: Iterable[Entry] = self.entries.values()
        return entries

    def scan(self, prefix: str, start: str = "") -> Iterator[Entry]:
        """Entries whose keys begin with `prefix`, in order, from `start` on."""
        entries = self.entries
        for key in entries.irange(max(prefix, start), prefix[:-1] + "0", (True, False)):
            yield entries[key]

    def keys_from(self, prefix: str, start: str = "") -> int:
        """How many keys begin with `prefix`, from `start` on."""
        left = self.entries.bisect_left(max(prefix, start))
        return int(self.entries.bisect_left(prefix[:-1] + "0") - left)

    def indexed(self, value: str) -> Iterable[Entry]:
        """Entries whose indexed field has this value, in order."""
        found = self._index.get(value)
        return [found[k] for k in sorted(found)] if found else ()

    def __len__(self) -> int:
        return len(self.entries)

    def subscribe(self, callback: Callable[[str, Obj, Obj | None], None]) -> None:
        """Call `callback(type, object, previous)` after each change, in order. The objects are shared."""
        self._subscribers.append(callback)

    def unsubscribe(self, callback: Callable[[str, Obj, Obj | None], None]) -> None:
        self._subscribers.remove(callback)

    def end_listeners(self) -> None:
        """End all watches: what they watch is no longer what it was."""
        for lists in (self.listeners, self.index_listeners):
            for listener in [one for listeners in lists.values() for one in listeners]:
                listener.end()

    def since(self, revision: int) -> Iterator[Event] | None:
        """The events after a revision, or None when they are no longer all remembered."""
        if revision < self.oldest:
            return None
        ring = self.ring
        if not ring or ring[-1].revision <= revision:
            return iter(())
        low, high = 0, len(ring)
        while low < high:
            middle = (low + high) // 2
            if ring[middle].revision <= revision:
                low = middle + 1
            else:
                high = middle
        return itertools.islice(ring, low, None)

    # --- writing ------------------------------------------------------------------------------------------------------------

    def entry_of(self, kv: KeyValue, obj: Obj | None = None) -> Entry:
        """A stored key as an entry; `obj` is the decoded value where the caller has it already."""
        if self._load_fields is not None:
            load, self._load_fields = self._load_fields, None
            self._extract, self._index_field = load()
        entry = Entry(kv.key, kv.mod_revision, splice(kv.value, self.head, kv.mod_revision), self._decoded)
        if self.mixed and not kv.value.startswith(self.head):
            entry.version = version_of(kv.value, self.api_version)
        if obj is not None:
            entry.keep(obj)
        else:
            obj = entry.obj
        labels = obj["metadata"].get("labels")
        if labels:
            entry.labels = labels
        if self._extract is not None:
            entry.fields = self._extract(obj)
        return entry

    def redated(self, entry: Entry, revision: int) -> Entry:
        """The same object under another revision."""
        copy = Entry(entry.key, revision, redate(entry.encoded, self.head, revision), self._decoded)
        copy.labels, copy.fields, copy.version = entry.labels, entry.fields, entry.version
        return copy

    def load(self, kv: KeyValue) -> None:
        """At start: one object as it is."""
        entry = self.entry_of(kv)
        entry.forget()
        self._put(entry, None)

    def apply(self, change: Change, obj: Obj | None) -> Event | None:
        """Take one change in; the event that it makes (None for the deletion of what was not there)."""
        previous: Entry | None = self.entries.get(change.key)
        if change.kv is None:
            if previous is None:
                return None
            self._remove(previous)
            event = Event(DELETED, self.redated(previous, change.revision), previous, self)
        else:
            entry = self.entry_of(change.kv, obj)
            self._put(entry, previous)
            event = Event(MODIFIED if previous is not None else ADDED, entry, previous, self)
        self._remember(event)
        return event

    def _put(self, entry: Entry, previous: Entry | None) -> None:
        self.entries[entry.key] = entry
        self.bytes += len(entry.encoded) - (len(previous.encoded) if previous is not None else 0)
        if self._index_field is not None:
            if previous is not None and previous.fields[self._index_field] != entry.fields[self._index_field]:
                self._unindex(previous)
            self._index.setdefault(entry.fields[self._index_field], {})[entry.key] = entry

    def _remove(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self.bytes -= len(entry.encoded)
        if self._index_field is not None:
            self._unindex(entry)

    def _unindex(self, entry: Entry) -> None:
        value = entry.fields[self._index_field]  # type: ignore[index]
        bucket = self._index[value]
        del bucket[entry.key]
        if not bucket:
            del self._index[value]

    def _remember(self, event: Event) -> None:
        ring = self.ring
        ring.append(event)
        self._ring_bytes += len(event.entry.encoded)
        while len(ring) > RING or (self._ring_bytes > RING_BYTES and len(ring) > 100):
            gone = ring.popleft()
            self._ring_bytes -= len(gone.entry.encoded)
            self.oldest = gone.revision

    def tell(self, event: Event) -> None:
        """Hand an event to subscribers and to the listeners that may want it."""
        for callback in self._subscribers:
            callback(event.type, event.entry.obj, event.previous.obj if event.previous is not None else None)
        listeners = self.listeners
        if listeners:
            key = event.entry.key
            for scope in ("", key[: key.rindex("/") + 1], key) if self.namespaced else ("", key):
                for listener in listeners.get(scope, ()):
                    listener.offer(event)
        if self.index_listeners and self._index_field is not None:
            self._tell_indexed(event, self._index_field)

    def _tell_indexed(self, event: Event, index: int) -> None:
        values = {event.entry.fields[index]}
        if event.previous is not None:
            values.add(event.previous.fields[index])
        for value in values:
            for listener in self.index_listeners.get(value, ()):
                listener.offer(event)


class Feed:
    """Follows the store. `revision`: everything up to it is in the caches."""

    def __init__(self, store: Store) -> None:
        self.revision = 0
        self.caches: dict[str, ResourceCache] = {}
        self._store = store
        self._hints: dict[str, tuple[bytes, Obj]] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._dirty: dict[Listener, None] = {}
        self._framed: list[Event] = []
        self._flush_scheduled = False
        self.failed: BaseException | None = None

    def add(self, cache: ResourceCache) -> None:
        self.caches[cache.prefix] = cache

    def cache_of(self, key: str) -> ResourceCache | None:
        """The cache that a key belongs to: prefixes have one part below /registry/, or two."""
        first = key.find("/", len(REGISTRY)) + 1
        cache = self.caches.get(key[:first])
        if cache is None and first:
            cache = self.caches.get(key[: key.find("/", first) + 1])
        return cache

    async def start(self) -> None:
        """Load everything at one revision, then follow."""
        start, revision = "", 0
        while True:
            page = await self._store.range(REGISTRY, start, 1000, revision)
            revision = page.revision
            for kv in page.kvs:
                cache = self.cache_of(kv.key)
                if cache is not None:
                    cache.load(kv)
            if not page.more:
                break
            start = page.kvs[-1].key + "\0"
            await asyncio.sleep(0)
        self.revision = revision
        for cache in self.caches.values():
            cache.oldest = revision
        self._watch = self._store.watch(REGISTRY, revision)
        self._task = asyncio.create_task(self._follow(self._watch), name="watch-cache-feed")

    async def load(self, cache: ResourceCache) -> None:
        """Add a cache while running (a new custom resource): load it, then catch up with what happened meanwhile."""
        page = await self._store.range(cache.prefix)
        while self.revision > page.revision:  # the feed has passed changes that the page does not have
            page = await self._store.range(cache.prefix)
        for kv in page.kvs:
            cache.load(kv)
        cache.oldest = page.revision
        self.add(cache)

    async def stop(self) -> None:
        if self._watch is not None:
            await self._watch.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, watch: Watch) -> None:
        try:
            async for batch in watch:
                self._take(batch, watch.revision)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("the store's changes cannot be followed any more")
            self.failed = error
            for _, _, waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(error)

    def _take(self, batch: list[Change], revision: int) -> None:
        hints = self._hints
        for change in batch:
            cache = self.cache_of(change.key)
            if cache is None:
                continue
            obj = None
            if change.kv is not None:
                hint = hints.pop(change.key, None) if hints else None
                if hint is not None and hint[0] == change.kv.value:
                    obj = hint[1]
                    obj["metadata"]["resourceVersion"] = str(change.revision)
            if change.revision > cache.oldest:
                event = cache.apply(change, obj)
                if event is not None:
                    cache.tell(event)
        self.revision = max(self.revision, revision, batch[-1].revision if batch else 0)
        while self._waiters and self._waiters[0][0] <= self.revision:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    def expect(self, key: str, value: bytes, obj: Obj) -> None:
        """Announce a write: when its change comes by, `obj` is its decoded form (and gets its resourceVersion)."""
        self._hints[key] = (value, obj)

    def unexpect(self, key: str) -> None:
        """The announced write did not happen."""
        self._hints.pop(key, None)

    async def reached(self, revision: int, timeout: float | None = None) -> bool:
        """Wait until everything up to `revision` is in the caches. False if that took too long."""
        if revision <= self.revision:
            return True
        if self.failed is not None:
            raise self.failed
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._order), waiter))
        if timeout is None:
            await waiter
            return True
        try:
            await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            return False
        return True

    # --- batching -------------------------------------------------------------------------------------------------------------

    def mark(self, listener: Listener) -> None:
        """A listener has something to write: it is flushed at the end of this turn of the loop."""
        self._dirty[listener] = None
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        dirty, self._dirty = self._dirty, {}
        for listener in dirty:
            listener.flush()
        framed, self._framed = self._framed, []
        for event in framed:
            event.frames = {}

    def share(self, event: Event, memo: Any, frame: bytes) -> None:
        """Keep a frame for the other channels of this turn; the ring must not hold every event twice."""
        if not event.frames:
            self._framed.append(event)
        event.frames[memo] = frame
