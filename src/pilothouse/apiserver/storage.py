"""Writing to the store and waiting until the write can be seen: compare-and-swap on the object's last revision."""

from __future__ import annotations

from pilothouse.api.errors import Obj, StatusError, internal
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.watchcache import Feed
from pilothouse.store.interface import CasFailed, Change, Store, StoreError

#: Values above this are refused by the store's clients of the reference, too (etcd's request limit).
VALUE_LIMIT = 3 * 1024 * 1024 // 2


class Conflict(Exception):
    """Somebody else wrote first; `current` is what is there now (None: nothing)."""

    def __init__(self, current: Entry | None) -> None:
        super().__init__("conflict")
        self.current = current


class Storage:
    """The hub's hand on the store."""

    def __init__(self, store: Store, feed: Feed) -> None:
        self.store = store
        self.feed = feed

    async def create(self, served: Served, key: str, stored: Obj) -> Entry:
        """Store a new object (of the stored version). Conflict if the key is taken."""
        return await self._put(served, key, stored, served.value(stored), 0)

    async def replace(self, served: Served, old: Entry, stored: Obj) -> Entry:
        """Store the next state of an object. Conflict if it is no longer at `old`'s revision."""
        return await self._put(served, old.key, stored, served.value(stored), old.revision)

    async def _put(self, served: Served, key: str, stored: Obj, value: bytes, expected: int) -> Entry:
        feed = self.feed
        if len(value) > VALUE_LIMIT:
            raise _too_large()
        feed.expect(key, value, stored)
        try:
            kv = await self.store.put(key, value, expected, ttl=served.ttl)
        except CasFailed as failed:
            feed.unexpect(key)
            raise Conflict(await self._now(served, failed)) from None
        except StoreError as error:
            feed.unexpect(key)
            raise internal(str(error)) from error
        if feed.revision < kv.mod_revision:
            await feed.reached(kv.mod_revision)
        entry = served.cache.by_key(key)
        if entry is None or entry.revision != kv.mod_revision:
            return served.cache.entry_of(kv)
        return entry

    async def delete(self, served: Served, old: Entry) -> Entry:
        """Delete an object at a revision; its last state under the deletion's revision. Conflict as in `replace`."""
        try:
            change: Change = await self.store.delete(old.key, old.revision)
        except CasFailed as failed:
            raise Conflict(await self._now(served, failed)) from None
        except StoreError as error:
            raise internal(str(error)) from error
        await self.feed.reached(change.revision)
        return served.cache.redated(old, change.revision)

    async def _now(self, served: Served, failed: CasFailed) -> Entry | None:
        """What is there instead, as the cache will have it too before the caller tries again."""
        if failed.current is None:
            return None
        await self.feed.reached(failed.current.mod_revision)
        return served.cache.entry_of(failed.current)


def _too_large() -> StatusError:
    return StatusError(500, "", "etcdserver: request is too large")
