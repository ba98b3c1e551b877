"""Pauses per item that double with each failure and are forgotten after a time without one."""

from __future__ import annotations

from pilothouse.clock import Clock


class Backoff:
    """`first` seconds, then twice as many each time, up to `longest`; an item that was left alone for twice `longest` starts anew."""

    def __init__(self, clock: Clock, first: float, longest: float) -> None:
        self._clock = clock
        self._first = first
        self._longest = longest
        self._known: dict[str, tuple[float, float]] = {}  # item: pause, since when

    def left(self, item: str) -> float:
        """Seconds that the item still has to wait; 0 if none."""
        known = self._known.get(item)
        return max(0.0, known[1] + known[0] - self._clock.monotonic()) if known else 0.0

    def failed(self, item: str) -> None:
        """Begin the next pause."""
        now = self._clock.monotonic()
        known = self._known.get(item)
        if known is None or now - known[1] > 2 * self._longest:
            self._known[item] = (self._first, now)
        else:
            self._known[item] = (min(self._longest, known[0] * 2), now)

    def collect(self) -> None:
        """Forget what was left alone long enough."""
        now = self._clock.monotonic()
        self._known = {k: v for k, v in self._known.items() if now - v[1] <= 2 * self._longest}
