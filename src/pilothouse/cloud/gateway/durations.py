"""Durations of the Gateway API (GEP-2257): up to four numbers with the units h, m, s and ms, such as `1m30s`."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d{1,5})(h|ms|m|s)")
_WHOLE = re.compile(r"(?:\d{1,5}(?:h|ms|m|s)){1,4}")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(text: str) -> float:
    """ValueError for what is not a duration."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration")
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
