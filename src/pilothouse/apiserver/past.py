"""Watches that begin further back than the watch cache remembers: told from the store's history until they have caught up.

kube-apiserver answers 410 as soon as a resourceVersion has left its cache, and every client lists anew. The store knows more: everything since
its last compaction. So the events of the past are made from the store's changes, a stretch at a time as the client takes them, and as soon
as the cache's ring reaches back far enough the watch goes on from there. Only a compacted revision is gone. Facts 5.3.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.encoders import Encoder
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.messages import Stream, chunk_of
from pilothouse.apiserver.selection import Selection
from pilothouse.apiserver.watchcache import ADDED, DELETED, MODIFIED, Event, Feed, ResourceCache
from pilothouse.apiserver.watches import Start, in_scope, judge
from pilothouse.store.interface import Change, Compacted, KeyValue, Store


def expired(revision: int, oldest: int) -> StatusError:
    """410: the past before `oldest` is forgotten."""
    return StatusError(410, "Expired", f"too old resource version: {revision} ({oldest})")


class Past:
    """The events of one selection after a revision. `revision`: everything up to it was told."""

    def __init__(self, store: Store, feed: Feed, cache: ResourceCache, selection: Selection, revision: int) -> None:
        self.revision = revision
        self._store = store
        self._feed = feed
        self._cache = cache
        self._selection = selection

    @property
    def joined(self) -> bool:
        """Whether the cache remembers everything that is still to be told."""
        return self.revision >= self._cache.oldest

    async def events(self) -> AsyncGenerator[list[tuple[str, Entry]], None]:
        """What watchers are told, in batches, until `joined`. StatusError 410 when the store has forgotten it."""
        while not self.joined:
            async for batch in self._stretch(self._feed.revision):
                yield batch

    async def _stretch(self, target: int) -> AsyncGenerator[list[tuple[str, Entry]], None]:
        """From where we are to a revision that the feed has passed."""
        watch = self._store.watch(self._selection.prefix, self.revision)
        try:
            await self._store.current_revision()  # asks for progress where nothing happened under the prefix
            async for batch in watch:
                told = [judged for change in batch if (judged := self._judge(change)) is not None]
                self.revision = max(self.revision, watch.revision)
                yield told
                if self.revision >= target:
                    break
        except Compacted as gone:
            raise expired(self.revision, gone.oldest) from None
        finally:
            await watch.close()

    def _judge(self, change: Change) -> tuple[str, Entry] | None:
        event = self._event(change)
        if event is None or not in_scope(event, self._selection):
            return None
        return judge(event, self._selection)

    def _event(self, change: Change) -> Event | None:
        cache = self._cache
        previous = self._entry(change.previous)
        if change.kv is not None:
            entry = self._entry(change.kv)
            assert entry is not None
            return Event(MODIFIED if change.kv.version > 1 else ADDED, entry, previous, cache)
        return Event(DELETED, cache.redated(previous, change.revision), previous, cache) if previous is not None else None

    def _entry(self, kv: KeyValue | None) -> Entry | None:
        if kv is None:
            return None
        entry = self._cache.entry_of(kv)
        entry.forget()  # the past is seldom looked at twice
        return entry


async def replay(past: Past, encoder: Encoder, stream: Stream, go_on: Callable[[Start], None]) -> None:
    """Tell a client of the past at its own pace, then hand its stream over: `go_on` opens the watch where the past ends."""
    awake = asyncio.Event()
    stream.on_drain = awake.set
    try:
        async with contextlib.aclosing(past.events()) as batches:
            async for told in batches:
                if told:
                    await encoder.ready([entry for _, entry in told])
                    stream.write(chunk_of(b"".join([encoder.frame(type, entry) for type, entry in told])))
                while stream.full and not stream.closed:
                    awake.clear()
                    await awake.wait()
                if stream.closed:
                    return
    except StatusError as error:
        stream.write(chunk_of(encoder.error(error)))
        stream.finish()
        return
    go_on(Start(initial=False, revision=past.revision))
