"""The etcd engine: a real etcd v3 cluster, shared by any number of API servers.

Spoken to over `grpc.aio` with message classes of our own (`etcd_messages`). The asyncio clients on PyPI were tried first: aetcd 1.0.0
knows one endpoint, tells watch events one at a time without the revision they bring the watch to, and never begins a broken watch again;
etcd3aio 0.3.0 begins it again after the revision in the server's greeting, which skips what was still to come, and cannot ask for
progress; and the generated modules of the two cannot be imported into one process.

Compare-and-swap is a transaction on the key's mod revision. A write whose connection broke may have happened: it is sent again, which is
safe under compare-and-swap, and when the key then holds our value, written on top of what we expected, it is taken as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.store.etcd_connection import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TOTAL_SECONDS,
    Connection,
    Credentials,
    OutOfRange,
    Unreachable,
    _Clock,
)
from pilothouse.store.etcd_messages import EQUAL, MESSAGES, MOD
from pilothouse.store.etcd_watch import EtcdWatch, key_value, prefix_end
from pilothouse.store.interface import CasFailed, Change, Compacted, FutureRevision, KeyValue, RangeResult, StoreError

#: One lease serves keys written within this time, or this part of their time to live, up to so many.
LEASE_SECONDS, LEASE_PART, LEASE_KEYS = 60, 0.05, 1000


@dataclass(slots=True)
class _Lease:
    id: int
    until: float
    uses: int = 0


class EtcdStore:
    """`endpoints` as in --etcd-servers: http://host:port or https://host:port."""

    def __init__(self, endpoints: Sequence[str], clock: _Clock, credentials: Credentials | None = None) -> None:
        self.clock = clock
        self.connection = Connection(endpoints, credentials or Credentials(), clock)
        self.watches: set[EtcdWatch] = set()
        #: Whether progress told by the server is trusted; None: decided by its version.
        self.trust_progress: bool | None = None
        self._revision = 0
        self._compacted = 1  # known to be gone before it
        self._leases: dict[int, _Lease] = {}

    # --- Store -----------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self.connection.open()
        try:
            await self.current_revision()
        except StoreError:
            await self.connection.close()
            raise

    async def close(self) -> None:
        for watch in list(self.watches):
            await watch.close()
        await self.connection.close()

    def revision(self) -> int:
        return self._revision

    async def current_revision(self) -> int:
        response = await self._read(key=b"\0", range_end=b"\0", limit=1, keys_only=True)
        revision: int = response.header.revision
        for watch in self.watches:
            watch.want(revision)
        return revision

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        response = await self._read(key=key.encode(), revision=revision)
        return key_value(response.kvs[0]) if response.kvs else None

    async def range(self, prefix: str, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        low = max(prefix.encode(), start.encode()) or b"\0"
        response = await self._read(key=low, range_end=prefix_end(prefix.encode()), limit=limit, revision=revision)
        kvs = [key_value(m) for m in response.kvs]
        return RangeResult(kvs, revision or response.header.revision, response.count, response.more)

    async def put(self, key: str, value: bytes, expected: int | None = 0, ttl: int = 0) -> KeyValue:
        lease = await self._lease(ttl) if ttl else 0
        request = MESSAGES["PutRequest"](key=key.encode(), value=value, lease=lease, prev_kv=expected is None)
        if expected is None:
            return await self._overwrite(key, value, request)
        # The second operation reads the creation's revision and the version, without the value.
        keys_only = MESSAGES["RangeRequest"](key=key.encode(), keys_only=True)
        operations = [MESSAGES["RequestOp"](request_put=request), MESSAGES["RequestOp"](request_range=keys_only)]
        response, doubtful = await self._swap(key, expected, operations[: 2 if expected else 1])
        revision = response.header.revision
        if response.succeeded:
            if not expected:
                return KeyValue(key, value, revision, revision)
            made = response.responses[1].response_range.kvs[0]
            return KeyValue(key, value, revision, made.create_revision, made.version)
        current = _current(response)
        if doubtful and current is not None and current.value == value and (current.version == 1) == (expected == 0):
            return current
        raise CasFailed(current)

    async def _overwrite(self, key: str, value: bytes, request: Any) -> KeyValue:
        response = await self._call("Put", request, repeat=True)
        revision, old = response.header.revision, response.prev_kv
        if not response.HasField("prev_kv"):
            return KeyValue(key, value, revision, revision)
        return KeyValue(key, value, revision, old.create_revision, old.version + 1)

    async def delete(self, key: str, expected: int | None = None) -> Change:
        request = MESSAGES["DeleteRangeRequest"](key=key.encode(), prev_kv=True)
        if expected is None:
            deleted = await self._call("DeleteRange", request, repeat=False)
            revision = deleted.header.revision
        else:
            response, doubtful = await self._swap(key, expected, [MESSAGES["RequestOp"](request_delete_range=request)])
            if not response.succeeded:
                current = _current(response)
                if doubtful and current is None:
                    raise StoreError(f"the connection to etcd broke while {key} was deleted; it is gone now")
                raise CasFailed(current)
            deleted, revision = response.responses[0].response_delete_range, response.header.revision
        if not deleted.prev_kvs:
            raise CasFailed(None)
        return Change(key, revision, None, key_value(deleted.prev_kvs[0]))

    def watch(self, prefix: str, revision: int) -> EtcdWatch:
        watch = EtcdWatch(self, prefix, revision or self._revision)
        self.watches.add(watch)
        return watch

    async def compact(self, revision: int) -> None:
        try:
            await self._call("Compact", MESSAGES["CompactionRequest"](revision=revision), repeat=True)
        except OutOfRange as error:
            if not error.compacted:
                raise FutureRevision(await self.current_revision()) from None
        self._compacted = max(self._compacted, revision)

    async def compacted_revision(self) -> int:
        """etcd does not tell it, so it is searched for: reads fail below it and succeed from it on."""
        low, high = self._compacted, await self.current_revision()
        while low < high:
            middle = (low + high) // 2
            probe = MESSAGES["RangeRequest"](key=b"\0", revision=middle, count_only=True)
            try:
                await self._call("Range", probe, repeat=True)
                high = middle
            except OutOfRange:
                low = middle + 1
        self._compacted = low
        return low

    async def size(self) -> int:
        size: int = (await self.status()).dbSize
        return size

    # --- for watches -----------------------------------------------------------------------------------------------------------

    async def status(self) -> Any:
        """The member's own account of itself: version, size."""
        return await self.connection.call("Status", MESSAGES["StatusRequest"](), repeat=True)

    def saw(self, revision: int) -> None:
        """A revision that the cluster has agreed on."""
        self._revision = max(self._revision, revision)

    # --- calls -----------------------------------------------------------------------------------------------------------------

    async def _call(self, method: str, request: Any, repeat: bool) -> Any:
        response = await self.connection.call(method, request, repeat)
        self.saw(response.header.revision)
        return response

    async def _read(self, **request: Any) -> Any:
        try:
            return await self._call("Range", MESSAGES["RangeRequest"](**request), repeat=True)
        except OutOfRange as error:
            if error.compacted:
                raise Compacted(await self.compacted_revision()) from None
            raise FutureRevision(await self.current_revision()) from None

    async def _swap(self, key: str, expected: int, operations: list[Any]) -> tuple[Any, bool]:
        """Do this if the key is at the expected revision, else read it. True beside: an earlier attempt may have succeeded."""
        name = key.encode()
        request = MESSAGES["TxnRequest"](
            compare=[MESSAGES["Compare"](result=EQUAL, target=MOD, key=name, mod_revision=expected)],
            success=operations,
            failure=[MESSAGES["RequestOp"](request_range=MESSAGES["RangeRequest"](key=name))],
        )
        give_up = self.clock.monotonic() + TOTAL_SECONDS
        doubtful, pause = False, FIRST_PAUSE
        while True:
            try:
                response = await self.connection.call_once("Txn", request)
                self.saw(response.header.revision)
                return response, doubtful
            except Unreachable:
                doubtful = True
                if self.clock.monotonic() + pause > give_up:
                    raise
            await self.clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _lease(self, ttl: int) -> int:
        """A lease that ends some time after `ttl` from now, shared with other keys of this time to live."""
        now = self.clock.monotonic()
        lease = self._leases.get(ttl)
        if lease is None or now >= lease.until or lease.uses >= LEASE_KEYS:
            shared = int(min(LEASE_SECONDS, ttl * LEASE_PART))
            granted = await self._call("LeaseGrant", MESSAGES["LeaseGrantRequest"](TTL=ttl + shared), repeat=True)
            lease = self._leases[ttl] = _Lease(granted.ID, now + shared)
        lease.uses += 1
        return lease.id


def _current(response: Any) -> KeyValue | None:
    """What a failed transaction found."""
    kvs = response.responses[0].response_range.kvs
    return key_value(kvs[0]) if kvs else None
