"""IntOrString: a number or a percentage (`maxSurge: 25%`)."""

from __future__ import annotations

import re
from typing import Any

_PERCENT = re.compile(r"[0-9]+%")


def is_percent(value: Any) -> bool:
    return isinstance(value, str) and _PERCENT.fullmatch(value) is not None


def scaled(value: Any, total: int, round_up: bool) -> int:
    """The number meant: itself, or that percentage of `total`. ValueError for any other string."""
    if isinstance(value, int):
        return value
    if not is_percent(value):
        raise ValueError(f"invalid value for IntOrString: {value!r}")
    product = int(value[:-1]) * total
    return -(-product // 100) if round_up else product // 100


def percent(value: Any) -> int | None:
    """The number before the percent sign, or None."""
    return int(value[:-1]) if is_percent(value) else None
