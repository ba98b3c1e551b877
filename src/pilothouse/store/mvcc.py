"""Keys by revision in memory: the part that the memory and SQLite engines share.

Compare-and-swap is decided here, on the event loop, at the moment of the call. What an engine adds is durability: it is handed each change
(`_persist`) and calls `_committed` when the change is safe; only then do futures resolve and watchers hear of it. Until then the
change counts for later compare-and-swaps, and a failed commit takes back everything that was not yet safe.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from sortedcontainers import SortedDict

from pilothouse.store.interface import CasFailed, Change, Compacted, FutureRevision, KeyValue, RangeResult, StoreError


class _Clock(Protocol):
    def now(self) -> float: ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any: ...


class MvccWatch:
    """A watch over one prefix. A batch holds everything that one commit brought for it."""

    def __init__(self, store: MvccStore, prefix: str, revision: int) -> None:
        self._store = store
        self.prefix = prefix
        self.revision = revision
        self._batches: deque[list[Change]] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._error: StoreError | None = None

    def feed(self, batch: list[Change]) -> None:
        self._batches.append(batch)
        self._wake.set()

    def fail(self, error: StoreError) -> None:
        self._error = error
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[list[Change]]:
        while True:
            while self._batches:
                batch = self._batches.popleft()
                self.revision = max(self.revision, batch[-1].revision)
                yield batch
            if self._error is not None:
                raise self._error
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

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._latest: SortedDict[str, KeyValue] = SortedDict()
        self._history: deque[Change] = deque()
        self._revision = 1  # newest given out
        self._durable = 1  # newest that is safe
        self._oldest = 1  # oldest that can be read
        self._unsafe: deque[tuple[Change, asyncio.Future[None]]] = deque()
        self._expiries: list[tuple[float, str, int]] = []
        self._expiry_timer: Any = None
        self.watches: set[MvccWatch] = set()
        self._failure: StoreError | None = None

    # --- for engines -----------------------------------------------------------------------------------------------------------

    def _persist(self, change: Change, expires: float) -> None:
        """Make a change durable, then call `_committed(its revision)`."""
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
        self._history.extend(batch)
        for watch in self.watches:
            mine = batch if not watch.prefix else [c for c in batch if c.key.startswith(watch.prefix)]
            if mine:
                watch.feed(mine)

    def _take_back(self, error: StoreError) -> None:
        """A commit failed: undo everything that is not safe and fail its writers."""
        while self._unsafe:
            change, future = self._unsafe.pop()
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
        self._revision = self._durable = max(self._revision, change.revision)
        self._history.append(change)

    def peek(self, key: str) -> KeyValue | None:
        """The newest state of a key, safe or not."""
        found: KeyValue | None = self._latest.get(key)
        return found

    # --- Store -----------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ready at once."""

    async def close(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        for watch in list(self.watches):
            await watch.close()

    def revision(self) -> int:
        return self._durable

    async def current_revision(self) -> int:
        return self._durable

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        if not revision or revision == self._revision:
            return self.peek(key)
        self._check(revision)
        return self._past(revision, key).get(key, self.peek(key))

    async def range(self, prefix: str, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        self._check(revision)
        past = self._past(revision, prefix) if revision and revision != self._revision else {}
        at = revision or self._revision
        kvs: list[KeyValue] = []
        count = 0
        for key in self._keys(prefix, max(start, prefix), past):
            kv = past[key] if key in past else self._latest.get(key)
            if kv is None:
                continue
            count += 1
            if not limit or len(kvs) < limit:
                kvs.append(kv)
        return RangeResult(kvs, at, count, count > len(kvs))

    def _keys(self, prefix: str, start: str, past: dict[str, KeyValue | None]) -> list[str]:
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
        keys = list(self._latest.irange(start, end, inclusive=(True, False)))
        gone = [k for k in past if k >= start and k.startswith(prefix) and k not in self._latest]
        return sorted([*keys, *gone]) if gone else keys

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
        if revision > self._revision:
            raise FutureRevision(self._revision)

    async def put(self, key: str, value: bytes, expected: int | None = 0, ttl: int = 0) -> KeyValue:
        before = self.peek(key)
        if expected is not None and expected != (before.mod_revision if before else 0):
            raise CasFailed(before)
        revision = self._revision + 1
        kv = KeyValue(key, value, revision, before.create_revision if before else revision, before.version + 1 if before else 1)
        expires = self._clock.now() + ttl if ttl else 0.0
        await self._write(Change(key, revision, kv, before), expires)
        return kv

    async def delete(self, key: str, expected: int | None = None) -> Change:
        before = self.peek(key)
        if before is None or (expected is not None and expected != before.mod_revision):
            raise CasFailed(before)
        change = Change(key, self._revision + 1, None, before)
        await self._write(change, 0.0)
        return change

    async def _write(self, change: Change, expires: float) -> None:
        if self._failure is not None:
            raise self._failure
        self._revision = change.revision
        if change.kv is None:
            del self._latest[change.key]
        else:
            self._latest[change.key] = change.kv
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsafe.append((change, future))
        self._persist(change, expires)
        if expires:
            self._expire_at(expires, change.key, change.revision)
        await future

    def watch(self, prefix: str, revision: int) -> MvccWatch:
        watch = MvccWatch(self, prefix, revision or self._durable)
        if revision and revision + 1 < self._oldest:
            watch.fail(Compacted(self._oldest))
            return watch
        if revision:
            missed = [c for c in self._history if c.revision > revision and c.key.startswith(prefix)]
            if missed:
                watch.feed(missed)
        self.watches.add(watch)
        return watch

    async def compact(self, revision: int) -> None:
        if revision > self._durable:
            raise FutureRevision(self._durable)
        if revision <= self._oldest:
            return
        gone: list[int] = []
        while self._history and self._history[0].revision <= revision:
            change = self._history.popleft()
            if change.previous is not None:
                gone.append(change.previous.mod_revision)
            if change.kv is None:
                gone.append(change.revision)
        self._oldest = revision
        self._forget(gone)

    async def compacted_revision(self) -> int:
        return self._oldest

    async def size(self) -> int:
        return sum(len(kv.key) + len(kv.value) for kv in self._latest.values())

    # --- expiry ----------------------------------------------------------------------------------------------------------------

    def _expire_at(self, when: float, key: str, revision: int) -> None:
        heapq.heappush(self._expiries, (when, key, revision))
        if self._expiries[0][2] == revision:
            self._arm_expiry()

    def _arm_expiry(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        self._expiry_timer = None
        if self._expiries:
            self._expiry_timer = self._clock.call_later(max(0.0, self._expiries[0][0] - self._clock.now()), self._expire)

    def _expire(self) -> None:
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now and self._failure is None:
            _, key, revision = heapq.heappop(self._expiries)
            kv = self.peek(key)
            if kv is None or kv.mod_revision != revision:
                continue
            change = Change(key, self._revision + 1, None, kv)
            self._revision = change.revision
            del self._latest[key]
            self._unsafe.append((change, asyncio.get_running_loop().create_future()))
            self._persist(change, 0.0)
        self._arm_expiry()
