"""Optional values."""

from __future__ import annotations

from typing import Any

from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.values import NONE, Optional


def value(optional: Optional) -> Any:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


def _of_non_zero(found: Any) -> Optional:
    return Optional(True, found) if found else NONE


def unwrap(items: list[Optional]) -> list[Any]:
    """The values that are there."""
    return [item.value for item in items if item.present]


def first(items: list[Any]) -> Optional:
    return Optional(True, items[0]) if items else NONE


def last(items: list[Any]) -> Optional:
    return Optional(True, items[-1]) if items else NONE


FUNCTIONS: list[tuple[str, Any]] = [
    ("optional::of(A) -> optional(A)", lambda v: Optional(True, v)),
    ("optional::ofNonZeroValue(A) -> optional(A)", _of_non_zero),
    ("optional::none() -> optional(A)", lambda: NONE),
    ("optional::unwrap(list(optional(A))) -> list(A)", unwrap),
    ("list(optional(A)).unwrapOpt() -> list(A)", unwrap),
    ("list(A).first() -> optional(A)", first),
    ("list(A).last() -> optional(A)", last),
    ("optional(A).hasValue() -> bool", lambda o: o.present),
    ("optional(A).value() -> A", value),
    ("optional(A).or(optional(A)) -> optional(A)", lambda o, other: o if o.present else other),
    ("optional(A).orValue(A) -> A", lambda o, other: o.value if o.present else other),
]
