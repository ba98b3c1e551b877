"""What calls cost when they are carried out: a tenth of the characters that are walked along, an element each, otherwise 1.

Reference: "Resource use by CEL functions" in the Kubernetes documentation; the factors are those of the language's own cost model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Charge = Callable[[list[Any]], int]

#: A part of every character.
WALK = 0.1
#: A guess at the expressions in a pattern: one in four characters.
PATTERN = 0.25
#: Asking an authorizer: two of them and no more fit into an expression.
CHECK = 350_000
_TEXTS = (str, bytes)
_PATTERN_SIZES = {"uri": 1000, "date": 1000, "datetime": 1000, "byte": 50, "uuid": 100}
_NAME_PATTERN = 60


def size(value: Any) -> int:
    """Characters, bytes, elements or entries; 1 for what has no length."""
    return len(value) if isinstance(value, (str, bytes, list, dict)) else 1


def _part(amount: float, factor: float = WALK) -> int:
    return math.ceil(amount * factor)


def _walk(times: int = 1) -> Charge:
    return lambda values: _part(size(values[0]) * times)


def _compared(values: list[Any]) -> int:
    return _part(min(size(values[0]), size(values[1])))


def _added(values: list[Any]) -> int:
    a, b = values
    return _part(len(a) + len(b)) if isinstance(a, _TEXTS) and isinstance(b, _TEXTS) else 1


def _contained(values: list[Any]) -> int:
    return len(values[1]) if isinstance(values[1], list) else 1


def _found_in(values: list[Any]) -> int:
    return _part(size(values[0])) * _part(size(values[1]))


def matched(text: int, pattern: int) -> int:
    """A pattern looked for in a text, both given by their length."""
    return _part(1 + text) * _part(pattern, PATTERN)


def traversed(value: Any) -> int:
    """Looking at everything in a value."""
    if isinstance(value, _TEXTS):
        return int(len(value) * WALK)
    if isinstance(value, list):
        return sum(map(traversed, value))
    if isinstance(value, dict):
        return sum(traversed(k) + traversed(v) for k, v in value.items())
    return 1


def _sets(factor: int) -> Charge:
    return lambda values: 1 + size(values[0]) * size(values[1]) * factor


def _text_only(charge: Charge) -> Charge:
    return lambda values: charge(values) if isinstance(values[0], _TEXTS) else 1


def _network_size(value: Any) -> int:
    """Bytes of a network's prefix."""
    return math.ceil(getattr(value, "length", 128) / 8)


def _network(values: list[Any]) -> int:
    """Two networks compared byte by byte; what is given as text is read first."""
    return _part(2 * _network_size(values[0])) + (_part(len(values[1])) if isinstance(values[1], str) else 0)


def _validated(values: list[Any]) -> int:
    return matched(size(values[1]), _PATTERN_SIZES.get(getattr(values[0], "name", ""), _NAME_PATTERN))


COMPARISONS = ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_")
_CHARGES: dict[str, Charge] = {
    **dict.fromkeys(COMPARISONS, _compared),
    "_+_": _added,
    "@in": _contained,
    **dict.fromkeys(("startsWith", "endsWith", "format", "strings.quote"), _walk()),
    "contains": _found_in,
    **dict.fromkeys(("matches", "find", "findAll"), lambda values: matched(size(values[0]), size(values[1]))),
    **dict.fromkeys(("string", "bytes"), _text_only(_walk())),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim"), _walk()),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _walk(2)),
    "join": lambda values: _part(
        2 * sum(map(size, values[0])) + 2 * size(values[0]) * (size(values[1]) if len(values) > 1 else 0)
    ),
    **dict.fromkeys(
        ("isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"),
        lambda values: traversed(values[0]),
    ),
    **dict.fromkeys(("ip", "cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _text_only(_walk())),
    "containsIP": _network,
    "containsCIDR": lambda values: _network(values) + _part(_network_size(values[0])) + 1,
    "validate": _validated,
    "check": lambda values: CHECK,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}


def charge_one(values: list[Any]) -> int:
    return 1


def charge_of(function: str) -> Charge:
    """What a function costs for given arguments, the target of a method first."""
    return _CHARGES.get(function, charge_one)
