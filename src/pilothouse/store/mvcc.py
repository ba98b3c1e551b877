"""Keys by revision in memory: the part that the memory and SQLite engines share.

Compare-and-swap is decided here, on the event loop, at the moment of the call. What an engine adds is durability: it is handed each change
(`_persist`) and calls `_committed` when the change is safe; only then do futures resolve and watchers hear of it. Until then the
change counts for later compare-and-swaps, and a failed commit takes back everything that was not yet safe.
"""

from __future__ import annotations

import asyncio
import bisect
import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol

from sortedcontainers import SortedDict

from pilothouse.store.interface import CasFailed, Change, Compacted, FutureRevision, KeyValue, RangeResult, StoreError

#: Seconds until an expiry whose commit failed is tried again.
RETRY_EXPIRY = 1.0
#: Changes of the past that a watch takes at a time.
PAGE = 500
#: So many changes, or bytes written, are remembered at most, whatever the age: heavy writing must not fill the memory or the disk.
KEEP_CHANGES = 100_000
KEEP_BYTES = 256 * 1024 * 1024


class _Clock(Protocol):
    def now(self) -> float: ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any: ...


class MvccWatch:
    """A watch over one prefix. A batch holds everything that one commit brought for it; a past is read in pages, as it is taken."""

    def __init__(self, store: MvccStore, prefix: str, revision: int) -> None:
        self._store = store
        self.prefix = prefix
        self.revision = revision
        self._batches: deque[list[Change]] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        #: Changes after `revision` are still to be taken from the store's history; what commits bring is there, too.
        self._behind = 0 < revision < store.revision()

    def feed(self, batch: list[Change], revision: int) -> None:
        """Take what one commit, the one up to `revision`, brought (maybe nothing)."""
        if self._behind:
            return
        if batch and batch[0].revision <= self.revision:
            batch = [c for c in batch if c.revision > self.revision]  # begun in the future
        if batch:
            self._batches.append(batch)
            self._wake.set()
        elif not self._batches:
            self.revision = max(self.revision, revision)

    async def __aiter__(self) -> AsyncIterator[list[Change]]:
        while self._behind and not self._closed:
            page = self._store.history(self.revision, PAGE)
            if not page:
                self._behind = False
                break
            self.revision = page[-1].revision
            yield [c for c in page if c.key.startswith(self.prefix)]
            await asyncio.sleep(0)
        while True:
            while self._batches:
                batch = self._batches.popleft()
                self.revision = max(self.revision, batch[-1].revision)
                yield batch
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        self._closed = True
        self._store.watches.discard(self)
        self._wake.set()


class MvccStore:
    """The newest state in key order, and every change since the last compaction."""

    #: How values that are safe are read again; None: they stay in memory.
    _read: Callable[[int], bytes] | None = None
    #: Bounds of the history.
    keep_changes = KEEP_CHANGES
    keep_bytes = KEEP_BYTES

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._latest: SortedDict[str, KeyValue] = SortedDict()
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._latest_bytes = 0
        self._told: list[Change] = []  # by the last commit: their values are still in memory
        self._revision = 1  # newest given out
        self._durable = 1  # newest that is safe
        self._oldest = 1  # oldest that can be read
        self._unsafe: deque[tuple[Change, asyncio.Future[None]]] = deque()
        self._expiries: list[tuple[float, int, KeyValue]] = []
        self._expiry_timer: Any = None
        self._order = itertools.count()
        self.watches: set[MvccWatch] = set()
        self._closed: StoreError | None = None

    # --- for engines -----------------------------------------------------------------------------------------------------------

    def _persist(self, change: Change, expires: float) -> None:
        """Make a change durable, then call `_committed(its revision)`."""
        raise NotImplementedError

    def _read_many(self, revisions: list[int]) -> dict[int, bytes]:
        """Values that are safe and no longer in memory, by the revisions that wrote them. Compacted if one is gone."""
        raise NotImplementedError

    def _forget(self, revisions: list[int]) -> None:
        """Delete rows that no read can reach any more."""

    def _committed(self, revision: int) -> None:
        """Everything up to `revision` is safe: tell writers and watchers, in order."""
        batch: list[Change] = []
        while self._unsafe and self._unsafe[0][0].revision <= revision:
            change, future = self._unsafe.popleft()
            batch.append(change)
            if not future.done():
                future.set_result(None)
        self._durable = revision
        self._keep(batch)
        for watch in self.watches:
            prefix = watch.prefix
            watch.feed([c for c in batch if c.key.startswith(prefix)] if prefix else batch, revision)

    def _keep(self, batch: list[Change]) -> None:
        """Remember what a commit brought, within bounds. Values leave the memory one commit later, when watchers have looked at them."""
        self._history.extend(batch)
        for change in batch:
            if change.kv is not None:
                self._history_bytes += change.kv.size
        read = self._read
        if read is not None:
            for change in self._told:
                if change.kv is not None:
                    change.kv.released(read)
            self._told = batch
        if len(self._history) > self.keep_changes or self._history_bytes > self.keep_bytes:
            self._shorten()

    def _shorten(self) -> None:
        """Forget the older part of a history that has become too long."""
        changes, size = self.keep_changes * 3 // 4, self.keep_bytes * 3 // 4
        oldest, left, count = self._oldest, self._history_bytes, len(self._history)
        for change in self._history:
            if count <= changes and left <= size:
                break
            oldest, count = change.revision, count - 1
            left -= change.kv.size if change.kv is not None else 0
        self._oldest = oldest
        self._forget(self._drop_history(oldest))

    def _take_back(self, error: StoreError) -> None:
        """A commit failed: undo everything that is not safe and fail its writers."""
        while self._unsafe:
            change, future = self._unsafe.pop()
            self._count(change, -1)
            if change.previous is None:
                self._latest.pop(change.key, None)
            else:
                self._latest[change.key] = change.previous
            if not future.done():
                future.set_exception(error)
        self._revision = self._durable

    def _restore(self, change: Change) -> None:
        """Take in a change that is durable already (at start, in revision order)."""
        if change.kv is None:
            self._latest.pop(change.key, None)
        else:
            self._latest[change.key] = change.kv
            self._history_bytes += change.kv.size
        self._count(change, 1)
        self._revision = self._durable = max(self._revision, change.revision)
        self._history.append(change)

    def _count(self, change: Change, sign: int) -> None:
        """What a change adds to, or takes from, the bytes of the newest state."""
        if change.kv is not None:
            self._latest_bytes += sign * (len(change.key) + change.kv.size)
        if change.previous is not None:
            self._latest_bytes -= sign * (len(change.key) + change.previous.size)

    def _newest(self, key: str) -> KeyValue | None:
        """The newest state of a key, safe or not."""
        found: KeyValue | None = self._latest.get(key)
        return found

    # --- Store -----------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ready at once."""

    async def close(self) -> None:
        self._closed = StoreError("the store is closed")
        self._arm_expiry()
        for watch in list(self.watches):
            await watch.close()

    def revision(self) -> int:
        return self._durable

    async def current_revision(self) -> int:
        return self._durable

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        if not self._unsafe and (not revision or revision == self._durable):
            found = self._newest(key)
        else:
            self._check(revision)
            found = self._past(revision or self._durable, key).get(key, self._newest(key))
        return found.held() if found is not None else None

    async def range(self, prefix: str, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        self._check(revision)
        at = revision or self._durable
        start = max(start, prefix)
        past = self._past(at, prefix) if at != self._revision else {}
        kvs, count = self._merged(prefix, start, limit, past) if past else self._current(prefix, start, limit)
        return RangeResult(self._hold(kvs), at, count, count > len(kvs))

    def _hold(self, kvs: list[KeyValue]) -> list[KeyValue]:
        """Copies with their values in memory."""
        away = [kv.mod_revision for kv in kvs if not kv.at_hand]
        values = self._read_many(away) if away else {}
        return [kv.held(values.get(kv.mod_revision)) for kv in kvs]

    def _current(self, prefix: str, start: str, limit: int) -> tuple[list[KeyValue], int]:
        """A page of the newest state, and how many keys there are from its start on."""
        latest = self._latest
        first, end = latest.bisect_left(start), latest.bisect_left(_end(prefix)) if prefix else len(latest)
        stop = min(end, first + limit) if limit else end
        return [latest[key] for key in latest.islice(first, stop)], max(0, end - first)

    def _merged(self, prefix: str, start: str, limit: int, past: dict[str, KeyValue | None]) -> tuple[list[KeyValue], int]:
        """The same of a past state: `past` says where it differs from the newest."""
        latest = self._latest
        differing = [key for key in past if key >= start]
        gone = sorted(key for key in differing if key not in latest)
        first, end = latest.bisect_left(start), latest.bisect_left(_end(prefix)) if prefix else len(latest)
        count = end - first + sum((past[key] is not None) - (key in latest) for key in differing)
        kvs: list[KeyValue] = []
        for key in heapq.merge(latest.islice(first, end), gone):
            if limit and len(kvs) == limit:
                break
            kv = past[key] if key in past else latest[key]
            if kv is not None:
                kvs.append(kv)
        return kvs, count

    def _past(self, revision: int, prefix: str) -> dict[str, KeyValue | None]:
        """What keys under a prefix were at a past revision, where that differs from now."""
        out: dict[str, KeyValue | None] = {}
        for change, _ in reversed(self._unsafe):
            if change.revision > revision and change.key.startswith(prefix):
                out[change.key] = change.previous
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.key.startswith(prefix):
                out[change.key] = change.previous
        return out

    def _check(self, revision: int) -> None:
        if revision and revision < self._oldest:
            raise Compacted(self._oldest)
        if revision > self._durable:
            raise FutureRevision(self._durable)

    async def put(self, key: str, value: bytes, expected: int | None = 0, ttl: int = 0) -> KeyValue:
        before = self._newest(key)
        if expected is not None:
            while expected != (before.mod_revision if before is not None else 0):
                before = await self._known(key, before)
        revision = self._revision + 1
        if before is None:
            kv = KeyValue(key, value, revision, revision)
        else:
            kv = KeyValue(key, value, revision, before.create_revision, before.version + 1)
        await self._write(Change(key, revision, kv, before), self._clock.now() + ttl if ttl else 0.0)
        return kv

    async def delete(self, key: str, expected: int | None = None) -> Change:
        before = self._newest(key)
        while before is None or (expected is not None and expected != before.mod_revision):
            before = await self._known(key, before)
        change = Change(key, self._revision + 1, None, before)
        await self._write(change, 0.0)
        return change

    async def _known(self, key: str, state: KeyValue | None) -> KeyValue | None:
        """CasFailed if this state of a key is safe; else what the key is once the commit that it is in has succeeded or not."""
        pending = [future for change, future in self._unsafe if change.key == key]
        if not pending:
            raise CasFailed(state)
        await asyncio.wait(pending)
        return self._newest(key)

    async def _write(self, change: Change, expires: float) -> None:
        if self._closed is not None:
            raise self._closed
        await self._begin(change, expires)

    def _begin(self, change: Change, expires: float) -> asyncio.Future[None]:
        """Count a change from now on, and hand it to the engine."""
        self._revision = change.revision
        self._count(change, 1)
        if change.kv is None:
            del self._latest[change.key]
        else:
            self._latest[change.key] = change.kv
            if expires:
                self._expire_at(expires, change.kv)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsafe.append((change, future))
        self._persist(change, expires)
        return future

    def watch(self, prefix: str, revision: int) -> MvccWatch:
        watch = MvccWatch(self, prefix, revision or self._durable)
        self.watches.add(watch)
        return watch

    def history(self, revision: int, limit: int) -> list[Change]:
        """The first changes after a revision, oldest first, their values in memory. Compacted when not all are there any more."""
        if revision < self._oldest:
            raise Compacted(self._oldest)
        first = bisect.bisect_right(self._history, revision, key=lambda change: change.revision)
        page = list(itertools.islice(self._history, first, first + limit))
        held = {kv.mod_revision: kv for kv in self._hold([kv for c in page for kv in (c.previous, c.kv) if kv is not None])}
        return [Change(c.key, c.revision, c.kv and held[c.revision], c.previous and held[c.previous.mod_revision]) for c in page]

    async def compact(self, revision: int) -> None:
        if revision > self._durable:
            raise FutureRevision(self._durable)
        if revision <= self._oldest:
            return
        self._oldest = revision
        self._forget(self._drop_history(revision))

    def _drop_history(self, oldest: int) -> list[int]:
        """Forget what only reads before `oldest` need; the revisions whose rows are needed no more."""
        gone: list[int] = []
        while self._history and self._history[0].revision <= oldest:
            change = self._history.popleft()
            if change.kv is not None:
                self._history_bytes -= change.kv.size
            if change.previous is not None:
                gone.append(change.previous.mod_revision)
            if change.kv is None:
                gone.append(change.revision)
        return gone

    async def compacted_revision(self) -> int:
        return self._oldest

    async def size(self) -> int:
        return self._latest_bytes

    # --- expiry ----------------------------------------------------------------------------------------------------------------

    def _expire_at(self, when: float, kv: KeyValue) -> None:
        heapq.heappush(self._expiries, (when, next(self._order), kv))
        if self._expiries[0][2] is kv:
            self._arm_expiry()

    def _arm_expiry(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        if self._expiries and self._closed is None:
            self._expiry_timer = self._clock.call_later(max(0.0, self._expiries[0][0] - self._clock.now()), self._expire)

    def _expire(self) -> None:
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            kv = heapq.heappop(self._expiries)[2]
            if self._newest(kv.key) is kv:
                done = self._begin(Change(kv.key, self._revision + 1, None, kv), 0.0)
                done.add_done_callback(partial(self._expired, kv))
        self._arm_expiry()

    def _expired(self, kv: KeyValue, done: asyncio.Future[None]) -> None:
        """A key's expiry is safe, or its commit failed: then it is tried again."""
        if not done.cancelled() and done.exception() is not None:
            self._expire_at(self._clock.now() + RETRY_EXPIRY, kv)


def _end(prefix: str) -> str:
    """The first key after all that begin with a prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
