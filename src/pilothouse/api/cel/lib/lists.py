"""The Kubernetes list library."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.lib.operators import add
from pilothouse.api.cel.values import Duration, Uint, compare, equal


def is_sorted(items: list[Any]) -> bool:
    return all(compare(a, b) <= 0 for a, b in itertools.pairwise(items))


def _sum(zero: Any) -> Any:
    return lambda items: functools.reduce(add, items, zero)


def _extreme(name: str, sign: int) -> Any:
    def run(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        return functools.reduce(lambda a, b: b if compare(b, a) == sign else a, items)

    return run


def index_of(items: list[Any], wanted: Any) -> int:
    return next((n for n, x in enumerate(items) if equal(x, wanted)), -1)


def last_index_of(items: list[Any], wanted: Any) -> int:
    return next((n for n in range(len(items) - 1, -1, -1) if equal(items[n], wanted)), -1)


_COMPARABLE = ("int", "uint", "double", "bool", "string", "bytes", "timestamp", "duration")
_SUMS = (("int", 0), ("uint", Uint(0)), ("double", 0.0), ("duration", Duration(0)))

FUNCTIONS: list[tuple[str, Any]] = [
    *[(f"list({t}).isSorted() -> bool", is_sorted) for t in _COMPARABLE],
    *[(f"list({t}).sum() -> {t}", _sum(zero)) for t, zero in _SUMS],
    *[
        (f"list({t}).{name}() -> {t}", run)
        for name, run in (("min", _extreme("min", -1)), ("max", _extreme("max", 1)))
        for t in _COMPARABLE
    ],
    ("list(A).indexOf(A) -> int", index_of),
    ("list(A).lastIndexOf(A) -> int", last_index_of),
]
