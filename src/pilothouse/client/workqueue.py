"""Work queues: keys waiting for a worker, each at most once, never with two workers at a time, with growing pauses after failures.

Pauses are those of most of Kubernetes' controllers: per key 5 ms doubled with each failure up to 1000 s, and overall a bucket of 10 a second
with a burst of 100, whichever is longer.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from pilothouse.client.queuemetrics import Watched
from pilothouse.clock import Clock

BASE_DELAY, MAX_DELAY = 0.005, 1000.0
RATE, BURST = 10.0, 100


class WorkQueue:
    """Keys are strings. All methods but `get` return at once."""

    def __init__(self, clock: Clock, first_pause: float = BASE_DELAY, longest_pause: float = MAX_DELAY) -> None:
        self._clock = clock
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._ready: deque[str] = deque()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._tokens_at = -math.inf
        self.adds = self.retries = 0
        #: Whoever counts and times what passes through.
        self.watched: Watched | None = None

    def add(self, item: str) -> None:
        """Let a worker have it, once it is free."""
        self.adds += 1
        if item in self._waiting:
            return
        self._waiting.add(item)
        if self.watched is not None:
            self.watched.add(item)
        if item not in self._working:
            self._ready.append(item)
            self._wake.set()

    def add_after(self, item: str, seconds: float) -> None:
        """Add it later. The earliest of several calls counts."""
        if seconds <= 0:
            self.add(item)
            return
        due = self._clock.monotonic() + seconds
        if self._due.get(item, due + 1) <= due:
            return
        self._due[item] = due
        self._clock.call_later(seconds, lambda: self._fire(item, due))

    def _fire(self, item: str, due: float) -> None:
        if self._due.get(item) == due:
            del self._due[item]
            self.add(item)

    def add_rate_limited(self, item: str) -> None:
        """Add it after the pause that its failures have earned."""
        self.retries += 1
        if self.watched is not None:
            self.watched.retry()
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        self.add_after(item, max(min(self._first_pause * 2.0**failures, self._longest_pause), self._bucket_delay()))

    def _bucket_delay(self) -> float:
        now = self._clock.monotonic()
        self._tokens_at = max(self._tokens_at, now - BURST / RATE) + 1 / RATE
        return max(0.0, self._tokens_at - now)

    def forget(self, item: str) -> None:
        """It succeeded: its failures no longer count."""
        self._failures.pop(item, None)

    def failures(self, item: str) -> int:
        return self._failures.get(item, 0)

    async def get(self) -> str:
        """The next key. Call `done` with it afterwards."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        item = self._ready.popleft()
        self._waiting.discard(item)
        self._working.add(item)
        if self.watched is not None:
            self.watched.get(item)
        return item

    def done(self, item: str) -> None:
        """The worker is through; if the key was added meanwhile it is ready again."""
        self._working.discard(item)
        if self.watched is not None:
            self.watched.done(item)
        if item in self._waiting:
            self._ready.append(item)
            self._wake.set()

    def __len__(self) -> int:
        return len(self._waiting)
