"""Watches of etcd that outlive connections: begun again, on another member, after the last revision that was delivered.

Somebody who waits for the watch to reach a revision (a consistent read from a cache) must also be helped when that revision changed
only keys outside the prefix. Servers that can be trusted with it are asked for progress: those from 3.4.31 and 3.5.13 on, as in
Kubernetes. Older ones may tell of progress before events that belong to it, so there all keys are watched, and revisions follow from events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc.aio

from pilothouse.store.etcd_connection import FIRST_PAUSE, LONGEST_PAUSE, Unreachable
from pilothouse.store.etcd_messages import DELETE, MESSAGES
from pilothouse.store.interface import Change, Compacted, KeyValue, StoreError

if TYPE_CHECKING:
    from pilothouse.store.etcd import EtcdStore

log = logging.getLogger("pilothouse.store")

#: How long a revision is waited for before progress is asked for.
PROGRESS_SECONDS = 0.05
#: A stream that finds its member without a leader ends instead of waiting.
_METADATA = (("hasleader", "true"),)


def tells_progress(version: str) -> bool:
    """Whether a server's answer to a progress request can be trusted."""
    try:
        major, minor, patch = (int(part) for part in version.split("-")[0].split("."))
    except ValueError:
        return False
    return (major, minor) > (3, 5) or ((major, minor) == (3, 5) and patch >= 13) or ((major, minor) == (3, 4) and patch >= 31)


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with a prefix; for the empty one etcd's sign for "no end"."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"


def key_value(message: Any) -> KeyValue:
    return KeyValue(message.key.decode(), message.value, message.mod_revision, message.create_revision, message.version)


def change_of(event: Any) -> Change:
    previous = key_value(event.prev_kv) if event.HasField("prev_kv") else None
    kv = None if event.type == DELETE else key_value(event.kv)
    return Change(event.kv.key.decode(), event.kv.mod_revision, kv, previous)


class EtcdWatch:
    """A watch over one prefix."""

    def __init__(self, store: EtcdStore, prefix: str, revision: int) -> None:
        self._store = store
        self._prefix = prefix
        self.revision = revision
        self._closed = False
        self._call: Any = None
        self._wanted = 0
        self._wake = asyncio.Event()

    def want(self, revision: int) -> None:
        """Somebody waits for this revision."""
        if revision > self.revision and revision > self._wanted:
            self._wanted = revision
            self._wake.set()

    async def close(self) -> None:
        self._closed = True
        self._store.watches.discard(self)
        if self._call is not None:
            self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[list[Change]]:
        pause = FIRST_PAUSE
        while not self._closed:
            try:
                async with contextlib.aclosing(self._follow()) as batches:
                    async for batch in batches:
                        pause = FIRST_PAUSE
                        yield batch
            except Unreachable as error:
                if self._closed:
                    return
                log.info("watching %s: %s", self._prefix, error)
                await self._store.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _follow(self) -> AsyncGenerator[list[Change], None]:
        """One stream, until it breaks."""
        trusted = self._store.trust_progress
        if trusted is None:
            trusted = tells_progress((await self._store.status()).version)
        member = self._store.connection.member()
        call = self._call = member.method("Watch")(metadata=_METADATA)
        try:
            await call.write(MESSAGES["WatchRequest"](create_request=self._request(self._prefix if trusted else "")))
            async with _beside(self._ask_for_progress(call)) if trusted else contextlib.nullcontext():
                while (response := await call.read()) is not grpc.aio.EOF:
                    batch = self._take(response)
                    if batch is not None:
                        yield batch
            raise Unreachable("the stream ended")
        except asyncio.CancelledError:
            if not self._closed:
                raise
        except grpc.aio.AioRpcError as error:
            self._store.connection.leave(member)
            raise self._store.connection.explain(error, member.endpoint) from None
        except asyncio.InvalidStateError:  # writing to a stream that has ended
            self._store.connection.leave(member)
            raise Unreachable(f"{member.endpoint} closed the stream") from None
        finally:
            call.cancel()

    def _request(self, prefix: str) -> Any:
        start = prefix.encode()
        return MESSAGES["WatchCreateRequest"](
            key=start or b"\0", range_end=prefix_end(start), start_revision=self.revision + 1, prev_kv=True, progress_notify=True
        )

    def _take(self, response: Any) -> list[Change] | None:
        """The changes in a response; an empty list is progress, None nothing at all."""
        if response.canceled:
            if response.compact_revision:
                raise Compacted(response.compact_revision)
            if "permission denied" in response.cancel_reason or "PermissionDenied" in response.cancel_reason:
                raise StoreError(f"etcd refuses the watch ({response.cancel_reason}): check the rights of its user")
            raise Unreachable(response.cancel_reason or "the server cancelled the watch")
        if response.created:
            return None
        changes = [change_of(e) for e in response.events]
        revision = changes[-1].revision if changes else response.header.revision
        if revision <= self.revision:
            return None
        self.revision = revision
        self._store.saw(revision)
        return [c for c in changes if c.key.startswith(self._prefix)]

    async def _ask_for_progress(self, call: Any) -> None:
        while True:
            await self._wake.wait()
            await self._store.clock.sleep(PROGRESS_SECONDS)
            if self.revision >= self._wanted:
                self._wake.clear()
            else:
                await call.write(MESSAGES["WatchRequest"](progress_request=MESSAGES["WatchProgressRequest"]()))


@contextlib.asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    """Do some work while the body runs. When it fails, so will the body's own use of the stream."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
