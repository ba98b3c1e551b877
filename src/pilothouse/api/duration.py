"""Durations as people read them: `45s`, `5m30s`, `3h25m`, `2d4h`, `1y20d`. Two units at most, fewer the longer it is.

The limits are those of kubectl's AGE column. Clocks may differ: a second in the future still counts as now.
"""

from __future__ import annotations

INVALID = "<invalid>"


def human(seconds: float) -> str:
    """A duration, precise while it is short."""
    whole = int(seconds)
    if whole < -1:
        return INVALID
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def short_human(seconds: float) -> str:
    """A duration in its largest unit."""
    whole = int(seconds)
    if whole < -1:
        return INVALID
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (365 * 86400, 86400, "d")):
        if whole < limit:
            return f"{max(whole, 0) // size}{unit}"
    return f"{whole // (365 * 86400)}y"


def _two(large: int, unit: str, small: int, subunit: str) -> str:
    return f"{large}{unit}{small}{subunit}" if small else f"{large}{unit}"
