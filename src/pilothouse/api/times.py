"""Times as Kubernetes writes them: RFC 3339, UTC, whole seconds (`Time`) or microseconds (`MicroTime`)."""

from __future__ import annotations

import datetime as dt
import functools
import re

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_DONE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@functools.lru_cache(maxsize=4096)
def canonical_time(text: str) -> str:
    """A `Time` in UTC without fraction. ValueError if it is not RFC 3339."""
    moment = _parse(text)
    return text if _DONE.fullmatch(text) else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical_micro_time(text: str) -> str:
    """A `MicroTime` in UTC with six decimals. ValueError if it is not RFC 3339."""
    return _parse(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parse(text: str) -> dt.datetime:
    if not _RFC3339.fullmatch(text):
        raise ValueError(text)
    head, dot, tail = text.partition(".")
    if dot:
        digits = re.match(r"\d+", tail)
        assert digits is not None
        text = f"{head}.{digits[0][:6].ljust(6, '0')}{tail[digits.end() :]}"
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def seconds(text: str) -> float:
    """A `Time` or `MicroTime` as seconds since the epoch."""
    return _parse(text).timestamp()
