"""How long each plugin took in one scheduling cycle. Whoever decides brings the stopwatch; the heart itself reads no clock."""

from __future__ import annotations

from collections.abc import Callable

#: (extension point, plugin, seconds)
Lap = tuple[str, str, float]


class Laps:
    """A stopwatch that is pressed after each plugin."""

    __slots__ = ("_last", "_now", "taken")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = now()
        self.taken: list[Lap] = []

    def lap(self, point: str, plugin: str) -> None:
        """What was done since the last lap was this plugin's work at this extension point."""
        now = self._now()
        self.taken.append((point, plugin, now - self._last))
        self._last = now

    @property
    def seconds(self) -> float:
        return sum(seconds for _, _, seconds in self.taken)


class NoLaps(Laps):
    """Nobody wants to know."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)

    def lap(self, point: str, plugin: str) -> None:
        pass


NO_LAPS = NoLaps()
