"""Operators, size, and access by index (CEL specification, "List of standard definitions")."""

from __future__ import annotations

from typing import Any

from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.values import (
    NONE,
    Duration,
    Optional,
    Timestamp,
    Uint,
    checked_int,
    checked_uint,
    compare,
    equal,
)  # fmt: skip

_MISSING: Any = object()


def _number(value: int, like: Any) -> Any:
    if type(like) is Uint:
        return checked_uint(value)
    return checked_int(value)


def add(a: Any, b: Any) -> Any:
    ta, tb = type(a), type(b)
    if ta in (Timestamp, Duration) and tb in (Timestamp, Duration) and not (ta is tb is Timestamp):
        return (Timestamp if Timestamp in (ta, tb) else Duration)(int(a) + int(b))
    if ta is not tb or ta in (bool, dict, type(None), Timestamp):
        raise CelError("no such overload")
    total = a + b
    return _number(total, a) if ta in (int, Uint) else total


def subtract(a: Any, b: Any) -> Any:
    ta, tb = type(a), type(b)
    if ta in (Timestamp, Duration) and tb in (Timestamp, Duration):
        if ta is Duration and tb is Timestamp:
            raise CelError("no such overload")
        return (Duration if ta is tb else Timestamp)(int(a) - int(b))
    _arithmetic(a, b)
    return a - b if ta is float else _number(int(a) - int(b), a)


def _arithmetic(a: Any, b: Any) -> None:
    if type(a) is not type(b) or type(a) not in (int, Uint, float):
        raise CelError("no such overload")


def multiply(a: Any, b: Any) -> Any:
    _arithmetic(a, b)
    return a * b if type(a) is float else _number(int(a) * int(b), a)


def divide(a: Any, b: Any) -> Any:
    _arithmetic(a, b)
    if type(a) is float:
        if b:
            return a / b
        return float("nan") if not a or a != a else float("inf") if a > 0 else float("-inf")
    if b == 0:
        raise CelError("division by zero")
    quotient = abs(int(a)) // abs(int(b))
    return _number(quotient if (a < 0) == (b < 0) else -quotient, a)


def modulo(a: Any, b: Any) -> Any:
    _arithmetic(a, b)
    if type(a) is float:
        raise CelError("no such overload")
    if b == 0:
        raise CelError("modulus by zero")
    rest = abs(int(a)) % abs(int(b))
    return _number(-rest if a < 0 else rest, a)


def negate(a: Any) -> Any:
    if type(a) not in (int, float, Duration):
        raise CelError("no such overload")
    return checked_int(-a) if type(a) is int else type(a)(-a)


def invert(a: Any) -> bool:
    if a is True or a is False:
        return not a
    raise CelError("no such overload")


def contains(item: Any, items: Any) -> bool:
    """`in`: an element of a list, a key of a map."""
    if isinstance(items, dict):
        return type(item) is not bool and item in items if not isinstance(item, (list, dict)) else False
    return any(equal(item, x) for x in items)


def index(items: Any, key: Any) -> Any:
    found = _at(items, key)
    if found is _MISSING:
        raise CelError(f"no such key: {key}" if isinstance(items, dict) else f"index out of bounds: {key}")
    return found


def _at(items: Any, key: Any) -> Any:
    if isinstance(items, dict):
        return items.get(key, _MISSING)
    if not isinstance(items, list) or isinstance(key, (str, bool, bytes)) or key is None:
        raise CelError("no such overload")
    return items[int(key)] if 0 <= key < len(items) else _MISSING


def optional_index(items: Any, key: Any) -> Optional:
    if isinstance(items, Optional):
        if not items.present:
            return NONE
        items = items.value
    found = _at(items, key)
    return NONE if found is _MISSING else Optional(True, found)


def index_optional(items: Optional, key: Any) -> Optional:
    return optional_index(items, key)


def size(value: Any) -> int:
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    raise CelError("no such overload")


_ORDERED = ("bool", "string", "bytes", "timestamp", "duration")
_NUMERIC = ("int", "uint", "double")
_ADD = (*_NUMERIC, "string", "bytes", "list(A)", "duration")

FUNCTIONS: list[tuple[str, Any]] = [
    ("_==_(A, A) -> bool", equal),
    ("_!=_(A, A) -> bool", lambda a, b: not equal(a, b)),
    *[(f"_{op}_({a}, {b}) -> bool", run)
      for op, run in (("<", lambda a, b: compare(a, b) < 0), ("<=", lambda a, b: compare(a, b) <= 0),
                      (">", lambda a, b: compare(a, b) > 0), (">=", lambda a, b: compare(a, b) >= 0))
      for a, b in [*((t, t) for t in _ORDERED), *((a, b) for a in _NUMERIC for b in _NUMERIC)]],
    *[(f"_+_({t}, {t}) -> {t}", add) for t in _ADD],
    ("_+_(timestamp, duration) -> timestamp", add),
    ("_+_(duration, timestamp) -> timestamp", add),
    *[(f"_-_({t}, {t}) -> {t}", subtract) for t in (*_NUMERIC, "duration")],
    ("_-_(timestamp, timestamp) -> duration", subtract),
    ("_-_(timestamp, duration) -> timestamp", subtract),
    *[(f"_*_({t}, {t}) -> {t}", multiply) for t in _NUMERIC],
    *[(f"_/_({t}, {t}) -> {t}", divide) for t in _NUMERIC],
    *[(f"_%_({t}, {t}) -> {t}", modulo) for t in ("int", "uint")],
    *[(f"-_({t}) -> {t}", negate) for t in ("int", "double", "duration")],
    ("!_(bool) -> bool", invert),
    ("_&&_(bool, bool) -> bool", all),
    ("_||_(bool, bool) -> bool", any),
    ("_?_:_(bool, A, A) -> A", index),
    ("@in(A, list(A)) -> bool", contains),
    ("@in(A, map(A, B)) -> bool", contains),
    ("_[_](list(A), int) -> A", index),
    ("_[_](map(A, B), A) -> B", index),
    ("_[_](optional(list(A)), int) -> optional(A)", index_optional),
    ("_[_](optional(map(A, B)), A) -> optional(B)", index_optional),
    ("_[?_](list(A), int) -> optional(A)", optional_index),
    ("_[?_](map(A, B), A) -> optional(B)", optional_index),
    ("_[?_](optional(list(A)), int) -> optional(A)", optional_index),
    ("_[?_](optional(map(A, B)), A) -> optional(B)", optional_index),
    *[(f"size({t}) -> int", size) for t in ("string", "bytes", "list(A)", "map(A, B)")],
    *[(f"{t}.size() -> int", size) for t in ("string", "bytes", "list(A)", "map(A, B)")],
]  # fmt: skip
