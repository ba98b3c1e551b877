"""The Kubernetes quantity library."""

from __future__ import annotations

from typing import Any

from pilothouse.api import quantity as quantities
from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.values import INT_MAX, INT_MIN

_NANO = 1_000_000_000


class Amount:
    """An exact amount, in billionths."""

    __slots__ = ("nano",)
    cel_type = "kubernetes.Quantity"

    def __init__(self, nano: int) -> None:
        self.nano = nano

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Amount) and self.nano == other.nano

    def __hash__(self) -> int:
        return hash(self.nano)


def quantity(text: str) -> Amount:
    """CelError for what is no quantity."""
    try:
        return Amount(quantities.parse(text).nano)
    except ValueError as error:
        raise CelError(str(error)) from None


def is_quantity(text: str) -> bool:
    try:
        quantity(text)
    except CelError:
        return False
    return True


def is_integer(q: Amount) -> bool:
    return q.nano % _NANO == 0 and INT_MIN <= q.nano // _NANO <= INT_MAX


def as_integer(q: Amount) -> int:
    if not is_integer(q):
        raise CelError("cannot convert value to integer")
    return q.nano // _NANO


def _nano(value: Amount | int) -> int:
    return value.nano if isinstance(value, Amount) else value * _NANO


def _order(a: Amount, b: Amount) -> int:
    return (a.nano > b.nano) - (a.nano < b.nano)


_Q = "(kubernetes.Quantity)"

FUNCTIONS: list[tuple[str, Any]] = [
    ("quantity(string) -> kubernetes.Quantity", quantity),
    ("isQuantity(string) -> bool", is_quantity),
    (f"{_Q}.isInteger() -> bool", is_integer),
    (f"{_Q}.asInteger() -> int", as_integer),
    (f"{_Q}.asApproximateFloat() -> double", lambda q: q.nano / _NANO),
    (f"{_Q}.sign() -> int", lambda q: (q.nano > 0) - (q.nano < 0)),
    *[(f"{_Q}.add({t}) -> kubernetes.Quantity", lambda a, b: Amount(a.nano + _nano(b))) for t in ("kubernetes.Quantity", "int")],
    *[(f"{_Q}.sub({t}) -> kubernetes.Quantity", lambda a, b: Amount(a.nano - _nano(b))) for t in ("kubernetes.Quantity", "int")],
    (f"{_Q}.isGreaterThan(kubernetes.Quantity) -> bool", lambda a, b: a.nano > b.nano),
    (f"{_Q}.isLessThan(kubernetes.Quantity) -> bool", lambda a, b: a.nano < b.nano),
    (f"{_Q}.compareTo(kubernetes.Quantity) -> int", _order),
]
