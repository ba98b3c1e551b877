"""Two bands of a range: automatic allocation takes from the upper one first, so that the lower is free for who wants a number.

KEP-3070 (cluster IPs) and KEP-3668 (node ports).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

#: Random picks before all numbers are looked at in order.
_TRIES = 16


def static_band(size: int, divisor: int, largest: int) -> int:
    """How many numbers at the start of a range are for explicit requests: none of a small range."""
    return 0 if size <= 16 else min(max(16, size // divisor), largest)


def candidates(size: int, band: int, random: Random, free: Callable[[int], bool]) -> Iterator[int]:
    """Free offsets in a range of `size`, those above the band first."""
    for start, end in ((band, size), (0, band)):
        if start < end:
            yield from _within(start, end, random, free)


def _within(start: int, end: int, random: Random, free: Callable[[int], bool]) -> Iterator[int]:
    for _ in range(_TRIES):
        offset = random.randrange(start, end)
        if free(offset):
            yield offset
    first = random.randrange(start, end)
    for offset in (*range(first, end), *range(start, first)):
        if free(offset):
            yield offset
