"""From JSON to the language: texts of times, durations and bytes, and numbers that are whole."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from pilothouse.api.cel.types import Type

Convert = Callable[[Any], Any]


def converter(kind: Type) -> Convert | None:
    """What makes a value of that type from JSON; None where it is the same. Objects are converted when their fields are selected."""
    if kind.kind == "double":
        return float
    if kind.kind == "bytes":
        return lambda text: base64.b64decode(text) if isinstance(text, str) else text
    if kind.kind in ("timestamp", "duration"):
        from pilothouse.api.cel.lib import times

        return times.parse_timestamp if kind.kind == "timestamp" else times.parse_duration
    if kind.kind in ("list", "map"):
        inner = converter(kind.args[-1])
        if inner is None:
            return None
        if kind.kind == "list":
            return lambda items: [inner(x) for x in items]
        return lambda items: {k: inner(v) for k, v in items.items()}
    return None
