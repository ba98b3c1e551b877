"""The storage contract: etcd's, cut to what Kubernetes needs. Keys are strings, values are bytes, revisions are global.

Every engine (memory, sqlite, etcd) implements `Store` and passes the one suite in tests/unit/store/. The rules:

- One int64 revision for the whole store. It grows by one with each successful write and never goes back, over restarts too.
- A write is acknowledged (its await returns) only when it is durable in the sense of the engine.
- Watchers see every change once, in revision order, and only after it is durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol


class KeyValue:
    """One key at one revision. `version` counts its writes since its creation, from 1.

    An engine with a disk need not hold values in memory twice: once a write is safe, `released` key-values read theirs when somebody
    looks (`Compacted` if it is gone by then).
    """

    __slots__ = ("_value", "create_revision", "key", "mod_revision", "size", "version")

    def __init__(self, key: str, value: bytes, mod_revision: int, create_revision: int, version: int = 1) -> None:
        self.key = key
        self.mod_revision = mod_revision
        self.create_revision = create_revision
        self.version = version
        #: Bytes of the value.
        self.size = len(value)
        self._value: bytes | Callable[[int], bytes] = value

    @property
    def value(self) -> bytes:
        value = self._value
        return value if isinstance(value, bytes) else value(self.mod_revision)

    def released(self, read: Callable[[int], bytes], size: int | None = None) -> KeyValue:
        """The same, its value read by its revision from now on."""
        self._value = read
        if size is not None:
            self.size = size
        return self

    @property
    def at_hand(self) -> bool:
        """Whether the value is in memory."""
        return isinstance(self._value, bytes)

    def held(self, value: bytes | None = None) -> KeyValue:
        """A copy whose value (given by who has read it already) is in memory and stays there."""
        value = self.value if value is None else value
        return KeyValue(self.key, value, self.mod_revision, self.create_revision, self.version)

    def _identity(self) -> tuple[str, int, int, int]:
        return self.key, self.mod_revision, self.create_revision, self.version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyValue) and self._identity() == other._identity() and self.value == other.value

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"KeyValue(key={self.key!r}, mod_revision={self.mod_revision}, version={self.version}, size={self.size})"


@dataclass(frozen=True, slots=True)
class Change:
    """One write. A deletion has `kv` None; `previous` is what was there before, None for a creation."""

    key: str
    revision: int
    kv: KeyValue | None
    previous: KeyValue | None


@dataclass(frozen=True, slots=True)
class RangeResult:
    """A page: `kvs` in key order, `revision` that it was read at, `count` of keys under the prefix at or after the start."""

    kvs: list[KeyValue]
    revision: int
    count: int
    more: bool


class StoreError(Exception):
    """The engine cannot do its work (disk full, read-only, locked, corrupt, unreachable). The text says what to do."""


class Compacted(StoreError):
    """The revision asked for is gone; `oldest` is the first that can still be read."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revision has been compacted; the oldest is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for does not exist yet; `current` is the newest."""

    def __init__(self, current: int) -> None:
        super().__init__(f"revision is in the future; the newest is {current}")
        self.current = current


class CasFailed(Exception):
    """The key was not at the expected revision; `current` is what is there now (None: nothing)."""

    def __init__(self, current: KeyValue | None) -> None:
        super().__init__("compare-and-swap failed")
        self.current = current


class Watch(Protocol):
    """A running watch: iterate for batches of changes (an empty batch with a higher `revision` is progress), then close."""

    #: Everything up to this revision has been delivered.
    revision: int

    def __aiter__(self) -> AsyncIterator[list[Change]]: ...

    async def close(self) -> None: ...


class Store(Protocol):
    """Keys in order, with history."""

    async def start(self) -> None:
        """Open; recover after a crash. StoreError with a one-line remedy when that is not possible."""

    async def close(self) -> None:
        """Flush and release everything. Waiting writes are finished first."""

    def revision(self) -> int:
        """The newest revision this process knows to be durable."""

    async def current_revision(self) -> int:
        """The newest revision of the store itself (asks the server where there is one)."""

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """One key, now or at a past revision. Compacted or FutureRevision when that cannot be read."""

    async def range(self, prefix: str, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        """Keys that begin with `prefix`, from `start` (inclusive) on, at most `limit`, at one consistent revision."""

    async def put(self, key: str, value: bytes, expected: int | None = 0, ttl: int = 0) -> KeyValue:
        """Write if the key's mod_revision is `expected` (0: it must not exist; None: whatever is there), else CasFailed.

        `ttl` in seconds (0: none): the key is deleted some time after, as by an etcd lease.
        """

    async def delete(self, key: str, expected: int | None = None) -> Change:
        """Delete if at `expected` (None: whatever is there). CasFailed if not there or elsewhere."""

    def watch(self, prefix: str, revision: int) -> Watch:
        """All changes after `revision` (0: after the newest). Iterating raises Compacted when the past is gone."""

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`: reads and watches of it answer Compacted, its space is used again."""

    async def compacted_revision(self) -> int:
        """The oldest revision that can still be read."""

    async def size(self) -> int:
        """Bytes in use, for the storage metrics."""
