"""Timestamps and durations: their texts and their parts (CEL specification, "Timestamps and durations")."""

from __future__ import annotations

import datetime
import re
from typing import Any

from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.values import NANO, Duration, Timestamp, moment

_DURATION = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:h|ms|m|s|us|µs|ns))+|[+-]?0")
_UNITS = {"h": 3600 * NANO, "m": 60 * NANO, "s": NANO, "ms": 1_000_000, "us": 1000, "µs": 1000, "ns": 1}
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d))?")


def parse_duration(text: str) -> Duration:
    if not _DURATION.fullmatch(text):
        raise CelError("type conversion error from 'string' to 'google.protobuf.Duration'")
    total = 0
    for whole, part, unit in re.findall(r"(\d+)(?:\.(\d*))?(h|ms|m|s|us|µs|ns)", text):
        scale = _UNITS[unit]
        total += int(whole) * scale + (int(part) * scale // 10 ** len(part) if part else 0)
    return Duration(-total if text.startswith("-") else total)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339; a date alone is its midnight."""
    found = _STAMP.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        zone = (found.group(4) or "Z").upper().replace("Z", "+00:00")
        when = datetime.datetime.fromisoformat(f"{found.group(1)}T{found.group(2) or '00:00:00'}{zone}")
    except ValueError:
        raise CelError("type conversion error from 'string' to 'google.protobuf.Timestamp'") from None
    nanos = int((found.group(3) or "").ljust(9, "0"))
    return Timestamp((when - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1) * NANO + nanos)


def show_timestamp(value: Timestamp) -> str:
    part = f"{int(value) % NANO:09d}".rstrip("0")
    return moment(value).strftime("%Y-%m-%dT%H:%M:%S") + (f".{part}" if part else "") + "Z"


def show_duration(value: Duration) -> str:
    seconds, nanos = divmod(abs(int(value)), NANO)
    part = f"{nanos:09d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{seconds}{'.' + part if part else ''}s"


def _cut(value: int, unit: int) -> int:
    return abs(int(value)) // unit * (-1 if value < 0 else 1)


_PARTS: dict[str, Any] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}


def _part(take: Any) -> Any:
    return lambda stamp, where="": take(moment(stamp, where))


FUNCTIONS: list[tuple[str, Any]] = [
    *[(f"timestamp.{name}() -> int", _part(take)) for name, take in _PARTS.items()],
    *[(f"timestamp.{name}(string) -> int", _part(take)) for name, take in _PARTS.items()],
    ("duration.getHours() -> int", lambda d: _cut(d, 3600 * NANO)),
    ("duration.getMinutes() -> int", lambda d: _cut(d, 60 * NANO)),
    ("duration.getSeconds() -> int", lambda d: _cut(d, NANO)),
    ("duration.getMilliseconds() -> int", lambda d: _cut(d, 1_000_000) % 1000),
]
