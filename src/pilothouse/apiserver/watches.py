"""WATCH: who is told what, and how the same bytes serve everyone who asked for the same.

Watchers with equal scope, selectors and format share a `Channel`: an event is judged and framed once for all of them, and what one
turn of the loop brings leaves in one write to each. A new watcher first gets its past (the current state, or the events since its
resourceVersion) as fast as it takes it; a watcher that cannot keep up is hung up on, alone. Facts 5.3.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.encoders import Encoder, bookmark_object
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.messages import Stream, chunk_of
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.selection import Selection
from pilothouse.apiserver.watchcache import ADDED, DELETED, MODIFIED, Event, Feed, ResourceCache
from pilothouse.clock import Timer

if TYPE_CHECKING:
    from pilothouse.apiserver.converted_watch import ConvertedWatch

#: A watcher that is this far behind is dropped.
SLOW_BYTES = 16 * 1024 * 1024
SLOW_EVENTS = 50_000
#: Frames of a watcher's past that are joined into one chunk.
_REPLAY_BATCH = 64
BOOKMARK_SECONDS = 60.0
#: A last bookmark comes so long before a watch's end.
LAST_BOOKMARK_SECONDS = 2.0
INITIAL_END = {"k8s.io/initial-events-end": "true"}


def judge(event: Event, selection: Selection) -> tuple[str, Entry] | None:
    """What an event means to a watcher: entering a selection is ADDED, leaving it is DELETED; None if it is none of its business."""
    if not selection.filtering:
        return event.type, event.entry
    before = event.previous is not None and selection.matches(event.previous)
    if event.type == DELETED:
        return (DELETED, event.entry) if before else None
    if selection.matches(event.entry):
        return (MODIFIED if before else ADDED), event.entry
    return (DELETED, event.left) if before else None


# --- watchers over HTTP ---------------------------------------------------------------------------------------------------------


class Watcher:
    """One client's stream: first its past, from `source`, then chunks as they come; queued while the client is slow."""

    __slots__ = ("_queue", "_queued", "_source", "bookmarks", "channel", "stream", "timers")

    def __init__(self, stream: Stream, channel: Channel, source: Iterator[bytes] | None, bookmarks: bool) -> None:
        self.stream = stream
        self.channel = channel
        self.bookmarks = bookmarks
        self.timers: tuple[Timer, ...] = ()
        self._source = source
        self._queue: deque[bytes] = deque()
        self._queued = 0
        stream.on_drain = self.pump
        stream.on_close = self._leave

    def _leave(self) -> None:
        self._source = None
        self._queue.clear()
        for timer in self.timers:
            timer.cancel()
        self.channel.remove(self)

    def send(self, chunk: bytes) -> None:
        """Write, or queue behind what the client has not taken yet; hang up on one who is too far behind."""
        if self._source is None and not self._queue and not self.stream.full:
            self.stream.write(chunk)
            return
        self._queue.append(chunk)
        self._queued += len(chunk)
        if self._queued > SLOW_BYTES:
            self.stream.abort()

    def last_bookmark(self) -> None:
        """The watch is about to end: from here it can be resumed."""
        self.channel.bookmark(self)

    def pump(self) -> None:
        """Go on with the past and the queue until the client is full."""
        stream = self.stream
        while self._source is not None and not stream.full and not stream.closed:
            chunk = next(self._source, None)
            if chunk is None:
                self._source = None
                break
            stream.write(chunk)
        while self._source is None and self._queue and not stream.full and not stream.closed:
            chunk = self._queue.popleft()
            self._queued -= len(chunk)
            stream.write(chunk)


class Channel:
    """All HTTP watchers that see the same bytes. Lives in the cache's listener lists while it has watchers."""

    def __init__(self, feed: Feed, cache: ResourceCache, selection: Selection, encoder: Encoder, after: int = 0) -> None:
        self.encoder = encoder
        self.selection = selection
        self.watchers: dict[Watcher, None] = {}
        self.on_empty: Callable[[], None] | None = None
        self._feed = feed
        self._cache = cache
        self._after = after
        self._frames: list[bytes] = []

    def offer(self, event: Event) -> None:
        frame = self.frame_of(event)
        if frame is not None:
            if not self._frames:
                self._feed.mark(self)
            self._frames.append(frame)

    def frame_of(self, event: Event) -> bytes | None:
        """The frame of an event, made once for all channels whose encoders make the same bytes."""
        if event.revision <= self._after:
            return None
        judged = judge(event, self.selection)
        if judged is None:
            return None
        type, entry = judged
        key = self.encoder.key
        if key is None:
            return self.encoder.frame(type, entry)
        memo = (key, type, entry is event.entry)
        frame: bytes | None = event.frames.get(memo)
        if frame is None:
            frame = self.encoder.frame(type, entry)
            self._feed.share(event, memo, frame)
        return frame

    def flush(self) -> None:
        if self._frames:
            data = b"".join(self._frames) if len(self._frames) > 1 else self._frames[0]
            self._frames = []
            self.broadcast(data)

    def broadcast(self, data: bytes) -> None:
        chunk = chunk_of(data)
        for watcher in list(self.watchers):
            watcher.send(chunk)

    def bookmark(self, only: Watcher | None = None) -> None:
        """Tell those who asked (or one of them) how far the stream has come."""
        self.flush()
        wanting = [w for w in self.watchers if w.bookmarks and (only is None or w is only)]
        if wanting:
            chunk = chunk_of(self.encoder.bookmark(self._feed.revision, None))
            for watcher in wanting:
                watcher.send(chunk)

    def end(self) -> None:
        """What is watched has changed its meaning, or is gone: all watches are over, after what happened before."""
        self.flush()
        for watcher in list(self.watchers):
            watcher.stream.finish()

    def add(self, watcher: Watcher) -> None:
        self.flush()
        self.watchers[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        self.watchers.pop(watcher, None)
        if not self.watchers and self.on_empty is not None:
            self.on_empty()


def listener_list(cache: ResourceCache, selection: Selection) -> list[Any]:
    """Where a selection's listener has to stand to hear of everything that may concern it."""
    if selection.index_value is not None:
        return cache.index_listeners.setdefault(selection.index_value, [])
    return cache.listeners.setdefault(selection.scope, [])


def forget_list(cache: ResourceCache, selection: Selection) -> None:
    """Drop a listener list that has become empty."""
    lists = cache.listeners if selection.index_value is None else cache.index_listeners
    scope = selection.scope if selection.index_value is None else selection.index_value
    if not lists.get(scope, True):
        del lists[scope]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a watch begins: with the current state (`initial`), or after a revision (`events` since; None: too old)."""

    initial: bool
    revision: int
    end_mark: bool = False


class Watches:
    """All watches over HTTP."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._channels: dict[Any, Channel] = {}
        self._converted: set[ConvertedWatch] = set()

    def open(
        self, served: Served, selection: Selection, encoder: Encoder, start: Start, bookmarks: bool, stream: Stream
    ) -> Watcher | ConvertedWatch:
        """Begin a watch on a stream: its past first, then what happens."""
        if served.converting:
            return self._open_converted(served, selection, encoder, start, bookmarks, stream)
        channel = self._channel(served, selection, encoder, start)
        channel.flush()
        watcher = Watcher(stream, channel, _chunks(self._past(served, channel, start, bookmarks)), bookmarks)
        channel.add(watcher)
        watcher.pump()
        return watcher

    def _open_converted(
        self, served: Served, selection: Selection, encoder: Encoder, start: Start, bookmarks: bool, stream: Stream
    ) -> ConvertedWatch:
        from pilothouse.apiserver.converted_watch import ConvertedWatch

        watch = ConvertedWatch(self._feed, served, selection, encoder, bookmarks, stream)
        self._converted.add(watch)
        watch.on_close = lambda: self._converted.discard(watch)
        watch.begin(start)
        return watch

    def _channel(self, served: Served, selection: Selection, encoder: Encoder, start: Start) -> Channel:
        cache = served.cache
        future = start.revision > self._feed.revision and not start.initial
        key = None if encoder.key is None or future else (cache.prefix, selection.key, encoder.key)
        channel = self._channels.get(key) if key is not None else None
        if channel is not None:
            return channel
        channel = Channel(self._feed, cache, selection, encoder, start.revision if future else 0)
        listeners = listener_list(cache, selection)
        listeners.append(channel)
        self._channels[key if key is not None else channel] = channel

        def close() -> None:
            self._channels.pop(key if key is not None else channel, None)
            listeners.remove(channel)
            forget_list(cache, selection)

        channel.on_empty = close
        return channel

    def _past(self, served: Served, channel: Channel, start: Start, bookmarks: bool) -> Iterable[bytes]:
        encoder = channel.encoder
        if not start.initial:
            events = [e for e in served.cache.since(start.revision) or () if in_scope(e, channel.selection)]
            return [encoder.frame(*judged) for e in events if (judged := judge(e, channel.selection)) is not None]
        entries = channel.selection.entries(served.cache)
        frames: Iterable[bytes] = (encoder.frame(ADDED, entry) for entry in entries)
        if start.end_mark and bookmarks:
            frames = _chain(frames, encoder.bookmark(self._feed.revision, INITIAL_END))
        return frames if encoder.key is not None else list(frames)

    def bookmark_all(self) -> None:
        """The periodic bookmark."""
        for channel in list(self._channels.values()):
            channel.bookmark()
        for watch in list(self._converted):
            watch.bookmark()

    def __len__(self) -> int:
        return sum(len(c.watchers) for c in self._channels.values()) + len(self._converted)


def in_scope(event: Event, selection: Selection) -> bool:
    """Whether an event of the ring is of the namespace, name or index value that a selection is about."""
    if selection.index_value is not None:
        return True  # judged by the field selector itself
    return event.entry.key.startswith(selection.scope)


def _chain(frames: Iterable[bytes], last: bytes) -> Iterator[bytes]:
    yield from frames
    yield last


def _chunks(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Frames joined into chunks."""
    batch: list[bytes] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _REPLAY_BATCH:
            yield chunk_of(b"".join(batch))
            batch = []
    if batch:
        yield chunk_of(b"".join(batch))


# --- watchers in this process -----------------------------------------------------------------------------------------------------


class NativeWatch:
    """A watch of a component in the same process: batches of (type, object), the objects shared and not copied."""

    def __init__(self, feed: Feed, served: Served, selection: Selection, start: Start, bookmarks: bool) -> None:
        self.bookmarks = bookmarks
        self.closed = False
        self.on_close: Callable[[], None] | None = None
        self._feed = feed
        self._served = served
        self._selection = selection
        self._ready = asyncio.Event()
        self._batch: list[tuple[str, Any]] = []
        #: What stands in a batch for an entry: its object, or (where a webhook converts) itself.
        self._shown: Callable[[Entry], Any] = (lambda entry: entry) if served.converting else served.obj
        self._after = 0 if start.initial else start.revision
        self._begin(start)
        self._listeners = listener_list(served.cache, selection)
        self._listeners.append(self)

    def _begin(self, start: Start) -> None:
        if start.initial:
            self._batch = [(ADDED, self._shown(e)) for e in self._selection.entries(self._served.cache)]
            if start.end_mark and self.bookmarks:
                self._push_bookmark(INITIAL_END)
        else:
            for event in self._served.cache.since(start.revision) or ():
                if in_scope(event, self._selection):
                    self.offer(event)
        if self._batch:
            self._ready.set()

    def offer(self, event: Event) -> None:
        if event.revision <= self._after:
            return
        judged = judge(event, self._selection)
        if judged is None:
            return
        self._batch.append((judged[0], self._shown(judged[1])))
        self._ready.set()
        if len(self._batch) > SLOW_EVENTS:
            self._feed.mark(self)

    def flush(self) -> None:
        """Batches are taken by the reader; one who does not take them is dropped (here, because `offer` is called in a loop over listeners)."""
        if len(self._batch) > SLOW_EVENTS:
            self.close()

    def bookmark(self) -> None:
        if self.bookmarks:
            self._push_bookmark(None)

    def _push_bookmark(self, annotations: dict[str, str] | None) -> None:
        resource = self._served.resource
        self._batch.append(("BOOKMARK", bookmark_object(resource.kind, resource.api_version, self._feed.revision, annotations)))
        self._ready.set()

    async def next(self) -> list[tuple[str, Obj]] | None:
        """The next batch; None once the watch is over."""
        while not self._batch:
            if self.closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        batch, self._batch = self._batch, []
        return await self._converted(batch) if self._served.converting else batch

    async def _converted(self, batch: list[tuple[str, Any]]) -> list[tuple[str, Obj]]:
        """The batch with its entries as objects; a webhook that fails ends the watch."""
        try:
            served = await self._served.ready([item for _, item in batch if isinstance(item, Entry)])
        except StatusError as error:
            self.close()
            return [("ERROR", error.status())]
        return [(type, served.obj(item) if isinstance(item, Entry) else item) for type, item in batch]

    def close(self) -> None:
        """End it, from either side."""
        if not self.closed:
            self.closed = True
            self._listeners.remove(self)
            forget_list(self._served.cache, self._selection)
            self._ready.set()
            if self.on_close is not None:
                self.on_close()

    end = close
