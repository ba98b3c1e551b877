"""The Kubernetes list library, and the lists extension."""

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


def distinct(items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for x in items:
        if not any(equal(x, y) for y in out):
            out.append(x)
    return out


def cut(items: list[Any], start: int, end: int) -> list[Any]:
    if not 0 <= start <= end <= len(items):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def flatten(items: list[Any], depth: int = 1) -> list[Any]:
    out: list[Any] = []
    for x in items:
        out += flatten(x, depth - 1) if isinstance(x, list) and depth > 0 else [x]
    return out


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
    *[(f"list({t}).sort() -> list({t})", lambda items: sorted(items, key=functools.cmp_to_key(compare))) for t in _COMPARABLE],
    ("list(A).indexOf(A) -> int", index_of),
    ("list(A).lastIndexOf(A) -> int", last_index_of),
    ("list(A).distinct() -> list(A)", distinct),
    ("list(A).reverse() -> list(A)", lambda items: items[::-1]),
    ("list(A).slice(int, int) -> list(A)", cut),
    ("list(A).flatten() -> list(dyn)", flatten),
    ("lists::range(int) -> list(int)", lambda n: list(range(n))),
]
