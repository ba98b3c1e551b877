"""WATCH of objects that a webhook has to convert: each watcher has a queue of its own, whose objects are converted some at a time and in order.

Events, the past and bookmarks go through the same queue, so that nothing overtakes. A webhook that fails ends the watch with an ERROR event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.encoders import Encoder
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.messages import Stream, chunk_of
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.selection import Selection
from pilothouse.apiserver.watchcache import ADDED, Event, Feed
from pilothouse.apiserver.watches import INITIAL_END, SLOW_EVENTS, Start, forget_list, in_scope, judge, listener_list
from pilothouse.clock import Timer

_BATCH = 64
#: A bookmark on its way: its revision and annotations.
_Mark = tuple[int, dict[str, str] | None]


class ConvertedWatch:
    """One client's stream."""

    def __init__(
        self, feed: Feed, served: Served, selection: Selection, encoder: Encoder, bookmarks: bool, stream: Stream
    ) -> None:
        self.timers: tuple[Timer, ...] = ()
        self.on_close: Callable[[], None] | None = None
        self._feed = feed
        self._served = served
        self._selection = selection
        self._encoder = encoder
        self._bookmarks = bookmarks
        self._stream = stream
        self._after = 0
        self._ending = False
        self._queue: deque[tuple[str, Entry] | _Mark] = deque()
        self._awake = asyncio.Event()

    def begin(self, start: Start) -> None:
        """Queue the past, listen for what happens, and go on in a task of its own."""
        if start.initial:
            self._queue.extend((ADDED, entry) for entry in self._selection.entries(self._served.cache))
            if start.end_mark and self._bookmarks:
                self._queue.append((self._feed.revision, INITIAL_END))
        else:
            self._after = start.revision
            for event in self._served.cache.since(start.revision) or ():
                if in_scope(event, self._selection):
                    self.offer(event)
        listener_list(self._served.cache, self._selection).append(self)
        self._awake.set()
        self._stream.on_drain = self._awake.set
        task = asyncio.create_task(self._run(), name="converted-watch")
        self._stream.on_close = lambda: self._close(task)

    def _close(self, task: asyncio.Task[None]) -> None:
        for timer in self.timers:
            timer.cancel()
        listener_list(self._served.cache, self._selection).remove(self)
        forget_list(self._served.cache, self._selection)
        if task is not asyncio.current_task():
            task.cancel()
        if self.on_close is not None:
            self.on_close()

    def offer(self, event: Event) -> None:
        if event.revision <= self._after:
            return
        judged = judge(event, self._selection)
        if judged is None:
            return
        self._queue.append(judged)
        self._awake.set()
        if len(self._queue) > SLOW_EVENTS:
            self._feed.mark(self)

    def flush(self) -> None:
        """Hang up on a client (or a webhook) that is too far behind."""
        if len(self._queue) > SLOW_EVENTS:
            self._stream.abort()

    def end(self) -> None:
        """Nothing more will come: the watch is over once the client has what is queued."""
        self._ending = True
        self._awake.set()

    def bookmark(self) -> None:
        if self._bookmarks:
            self._queue.append((self._feed.revision, None))
            self._awake.set()

    last_bookmark = bookmark

    async def _run(self) -> None:
        while not self._stream.closed:
            if self._ending and not self._queue:
                self._stream.finish()
                return
            if not self._queue or self._stream.full:
                self._awake.clear()
                await self._awake.wait()
                continue
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                await self._encoder.ready([item[1] for item in batch if isinstance(item[1], Entry)])
            except StatusError as error:
                self._stream.write(chunk_of(self._encoder.error(error)))
                self._stream.finish()
                return
            self._stream.write(chunk_of(b"".join([self._frame(item) for item in batch])))

    def _frame(self, item: tuple[str, Entry] | _Mark) -> bytes:
        first, second = item
        if isinstance(second, Entry):
            return self._encoder.frame(str(first), second)
        return self._encoder.bookmark(int(first), second)
