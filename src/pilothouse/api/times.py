"""Times as Kubernetes writes them: RFC 3339, UTC, whole seconds (`Time`) or microseconds (`MicroTime`)."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d?:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)")
_DONE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DONE_MICRO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
#: The parts of a layout: what it is called in messages, how it looks, and the range of its number.
_PARTS = (
    ("2006", r"\d{4}", None), ("-", "-", None), ("01", r"\d\d", ("month", 1, 12)), ("-", "-", None), ("02", r"\d\d", ("day", 1, 31)),
    ("T", "T", None), ("15", r"\d\d?", ("hour", 0, 23)), (":", ":", None), ("04", r"\d\d", ("minute", 0, 59)), (":", ":", None),
    ("05", r"\d\d", ("second", 0, 59)),
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def canonical_time(text: str) -> str:
    """A `Time` in UTC without fraction. ValueError says what is wrong with it."""
    moment = _parse(text, _LAYOUT)
    return text if _DONE.fullmatch(text) else f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}Z"


def canonical_micro_time(text: str) -> str:
    """A `MicroTime` in UTC with six decimals. ValueError says what is wrong with it."""
    moment = _parse(text, _MICRO_LAYOUT)
    return text if _DONE_MICRO.fullmatch(text) else f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


@functools.lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """A `Time` or `MicroTime` as seconds since the epoch."""
    return _parse(text, _LAYOUT).timestamp()


def _parse(text: str, layout: str) -> dt.datetime:
    match = _RFC3339.fullmatch(text)
    if match is None or (layout is _MICRO_LAYOUT and len(match[3] or "") != 6):
        raise ValueError(_fault(text, layout))
    day, clock, fraction, zone = match.groups()
    whole = f"{day}T{clock.rjust(8, '0')}.{(fraction or '')[:6].ljust(6, '0')}{zone}"
    try:
        return dt.datetime.fromisoformat(whole).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise ValueError(_fault(text, layout)) from None


def _fault(text: str, layout: str) -> str:
    """Why a text is not a time, in the words of the reference server."""
    quoted = json.dumps(text, ensure_ascii=False)
    rest = text
    for name, pattern, limits in (*_PARTS, *_tail(layout)):
        found = re.match(pattern, rest)
        if found is None:
            return f'parsing time {quoted} as "{layout}": cannot parse {json.dumps(rest, ensure_ascii=False)} as "{name}"'
        if limits and not limits[1] <= int(found[0]) <= limits[2]:
            return f"parsing time {quoted}: {limits[0]} out of range"
        rest = rest[found.end() :]
    if rest:
        return f"parsing time {quoted}: extra text: {json.dumps(rest, ensure_ascii=False)}"
    return f"parsing time {quoted}: day out of range"


def _tail(layout: str) -> tuple[tuple[str, str, None], ...]:
    fraction = (".000000", r"[.,]\d{6}", None) if layout is _MICRO_LAYOUT else ("", r"(?:[.,]\d+)?", None)
    return (fraction, ("Z07:00", r"Z|[+-]\d\d:\d\d", None))


def text(seconds: float) -> str:
    """Seconds since the epoch as a `Time`."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
