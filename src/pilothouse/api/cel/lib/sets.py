"""The sets extension: lists as sets."""

from __future__ import annotations

from typing import Any

from pilothouse.api.cel.lib.operators import contains


def includes(items: list[Any], wanted: list[Any]) -> bool:
    return all(contains(x, items) for x in wanted)


FUNCTIONS: list[tuple[str, Any]] = [
    ("sets::contains(list(A), list(A)) -> bool", includes),
    ("sets::equivalent(list(A), list(A)) -> bool", lambda a, b: includes(a, b) and includes(b, a)),
    ("sets::intersects(list(A), list(A)) -> bool", lambda a, b: any(contains(x, b) for x in a)),
]
