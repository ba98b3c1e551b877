"""The only source of time, sleep and randomness in the tree.

Production uses `SystemClock`; tests and simulations use `VirtualClock`, which jumps to the next timer as soon as the event
loop has nothing else to do, so that five minutes of `tolerationSeconds` pass in milliseconds. Everything that waits, dates
or draws takes a `Clock` and never imports `time`, `datetime.now`, `asyncio.sleep` or `random` for that purpose.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

#: Letters that Kubernetes uses in generated names: no vowels and nothing that looks like another.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Clock(Protocol):
    """Time as a value that is passed in. Seconds everywhere; `now` is seconds since the Unix epoch (UTC)."""

    random: random.Random

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer: ...


class Timer(Protocol):
    """A pending callback, as `asyncio.TimerHandle` is one."""

    def cancel(self) -> None: ...


class SystemClock:
    """The machine's clock and the event loop's timers."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)


class _VirtualTimer:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """Time that moves only when asked to: `advance`, `run_until`, `jump`.

    Before it moves, the event loop must have been idle for `grace` real seconds (`settle`). Work in other threads, such as a commit of a
    writer thread, is not seen: where that counts, wait for its outcome. Timers due at one moment fire in the order in which they were set, so one seed gives one history.
    """

    def __init__(self, start: float = 1_767_225_600.0, seed: int = 0, grace: float = 0.002) -> None:
        self._now = start
        self._start = start
        self._grace = grace
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self.random = random.Random(seed)

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await future
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (self._now + max(0.0, seconds), next(self._order), timer))
        return timer

    def next_timer(self) -> float | None:
        """The moment of the earliest pending timer, or None."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def jump(self, until: float | None = None) -> bool:
        """Move to the earliest timer (not past `until`) and fire everything due at that moment. False if there is none."""
        due = self.next_timer()
        if due is None or (until is not None and due > until):
            return False
        self._now = max(self._now, due)
        while self._timers and self._timers[0][0] <= self._now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                timer.callback()
        return True

    async def settle(self) -> None:
        """Wait (in real time) until the event loop has been idle for the grace period."""
        ready = getattr(asyncio.get_running_loop(), "_ready", ())  # asyncio's own loop tells what waits; others only by the grace
        await asyncio.sleep(self._grace)
        while ready:
            await asyncio.sleep(0)
            if not ready:
                await asyncio.sleep(self._grace)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass, firing each timer at its own moment and letting its consequences run."""
        until = self._now + seconds
        await self.settle()
        while self.jump(until):
            await self.settle()
        self._now = max(self._now, until)
        await self.settle()

    async def run_until(self, condition: Callable[[], Awaitable[bool] | bool], limit: float = 86_400.0) -> float:
        """Let time pass until `condition()` holds; return the virtual seconds that took. TimeoutError after `limit` of them."""
        begin = self._now
        while True:
            await self.settle()
            held = condition()
            if not isinstance(held, bool):
                held = await held
            if held:
                return self._now - begin
            if not self.jump(begin + limit):
                raise TimeoutError(f"condition not reached within {limit} virtual seconds")


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as Kubernetes' `Time` (whole seconds, UTC): `2026-01-01T00:00:00Z`."""
    return _whole_second(int(seconds))


@functools.lru_cache(maxsize=64)
def _whole_second(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Seconds since the epoch as Kubernetes' `MicroTime`: `2026-01-01T00:00:00.000000Z`."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """A `Time` or `MicroTime` as seconds since the epoch. ValueError if it is neither."""
    return dt.datetime.fromisoformat(text).timestamp()


def new_uid(clock: Clock) -> str:
    """A random (version 4) UUID drawn from the clock's seeded source."""
    digits = f"{clock.random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def random_suffix(clock: Clock, length: int = 5) -> str:
    """The random tail of a generated name."""
    number = clock.random.getrandbits(16 * length)
    letters = []
    for _ in range(length):
        number, at = divmod(number, len(NAME_ALPHABET))
        letters.append(NAME_ALPHABET[at])
    return "".join(letters)
