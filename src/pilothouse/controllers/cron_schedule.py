"""Cron schedules over real time: the moments at which the clock on the wall of a time zone shows what the schedule says.

An hour that a time zone skips has no such moments, an hour that it repeats has them twice, as in Kubernetes (and not as in Debian's cron,
which `cronsim` imitates; so it is asked about wall clocks without a zone). Reference: CronJob, "Schedule syntax", "Time zones".
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cronsim import CronSim, CronSimError

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
#: No time zone moves its clocks by more than this at a time.
_LARGEST_SHIFT = dt.timedelta(hours=3)
#: Years after which a moment that has not come will not come.
_HORIZON = 5


class Schedule(Protocol):
    """Moments are seconds since the epoch."""

    def next(self, after: float) -> float | None:
        """The first moment after this one; None if there is none in the next years."""

    def last(self, since: float, until: float) -> float | None:
        """The last moment after `since` and not after `until`."""


def parse(text: str, zone: str | None) -> Schedule:
    """ValueError if the schedule cannot be read, zoneinfo.ZoneInfoNotFoundError if there is no such time zone."""
    where = zoneinfo.ZoneInfo(zone or "UTC")
    if text.startswith(_EVERY):
        return Every(max(1.0, float(int(_seconds(text.removeprefix(_EVERY))))))
    expression = _for_cronsim(_WORDS.get(text, text))
    try:
        CronSim(expression, dt.datetime(2000, 1, 1))
    except (CronSimError, ValueError) as error:
        raise ValueError(str(error)) from None
    return WallClock(expression, where)


def _seconds(duration: str) -> float:
    parts = _DURATION.findall(duration)
    if not parts or "".join(a + b for a, b in parts) != duration:
        raise ValueError(f"failed to parse duration {duration}")
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)


def _for_cronsim(expression: str) -> str:
    """A day field with steps restricts, like any other list of days; for `cronsim` it would be a star."""
    fields = expression.replace("?", "*").split()
    for at, span in ((2, "1-31"), (4, "0-6")):
        if at < len(fields) and fields[at].startswith("*/") and fields[at] != "*/1":
            fields[at] = span + fields[at][1:]
    return " ".join(fields)


@dataclass(frozen=True, slots=True)
class Every:
    """`@every 1h30m`: counted from the last time."""

    seconds: float

    def next(self, after: float) -> float | None:
        return float(int(after)) + self.seconds

    def last(self, since: float, until: float) -> float | None:
        times = int((until - int(since)) // self.seconds)
        return int(since) + times * self.seconds if times > 0 else None


@dataclass(frozen=True, slots=True)
class WallClock:
    expression: str
    zone: zoneinfo.ZoneInfo

    def next(self, after: float) -> float | None:
        found = self._nearest(after, forward=True)
        return found if found is not None and found - after < _HORIZON * 366 * 86400 else None

    def last(self, since: float, until: float) -> float | None:
        """A moment at `until` itself counts: half a second more lets the search, which is exclusive, find it."""
        found = self._nearest(until + 0.5, forward=False)
        return found if found is not None and since < found <= until else None

    def _nearest(self, moment: float, forward: bool) -> float | None:
        here = dt.datetime.fromtimestamp(moment, self.zone)
        wall = here.replace(tzinfo=None, fold=0)
        step = _LARGEST_SHIFT if forward else -_LARGEST_SHIFT
        shifts = (dt.datetime.fromtimestamp(moment + step.total_seconds(), self.zone)).utcoffset() != here.utcoffset()
        best: float | None = None
        for shown in self._walls(wall - step if shifts else wall, forward):
            for found in self._moments(shown):
                if (found > moment) if forward else (found < moment):
                    best = found if best is None else min(best, found) if forward else max(best, found)
            if best is not None and (not shifts or abs(shown - wall) > _LARGEST_SHIFT):
                return best
        return best

    def _walls(self, start: dt.datetime, forward: bool) -> Iterator[dt.datetime]:
        try:
            yield from CronSim(self.expression, start, reverse=not forward)
        except (OverflowError, CronSimError):
            return

    def _moments(self, shown: dt.datetime) -> set[float]:
        """When the clock shows this: once, twice, or never."""
        out = set()
        for fold in (0, 1):
            local = shown.replace(tzinfo=self.zone, fold=fold)
            moment = local.timestamp()
            if dt.datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None, fold=0) == shown:
                out.add(moment)
        return out
