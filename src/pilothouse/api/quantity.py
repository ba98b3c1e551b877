"""Quantities: `100m`, `1.5Gi`, `2e3`. Exact integers in billionths inside, Kubernetes' canonical text outside.

Rules (API reference, "Quantity"): three families of suffixes (decimal n u m k M G T P E, binary Ki..Ei, exponents e3); no more than
nine decimal places, finer ones are rounded up; the canonical form has no fraction and the largest suffix that allows that.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

NANO = 10**9
ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_PATTERN = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BY_EXPONENT = {v: k for k, v in _DECIMAL.items()}
_BY_POWER = {v: k for k, v in _BINARY.items()}
_MOST = (2**63 - 1) * NANO


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in billionths, and the family (decimal, binary, exponent) that its text is written in."""

    nano: int
    family: str


@functools.lru_cache(maxsize=16384)
def _parse(text: str) -> Quantity:
    match = _PATTERN.fullmatch(text.strip())
    if match is None or not (match[2] or match[3]):
        raise ValueError(ERROR)
    sign, whole, fraction, suffix = match[1], match[2] or "0", match[3] or "", match[4] or ""
    digits, places = int(whole + fraction), len(fraction)
    if suffix in _BINARY:
        nano, family = _scaled(digits << _BINARY[suffix], -places), "binary"
    elif suffix[:1] in ("e", "E") and len(suffix) > 1:
        nano, family = _scaled(digits, int(suffix[1:]) - places), "exponent"
    else:
        nano, family = _scaled(digits, _DECIMAL[suffix] - places), "decimal"
    nano = min(nano, _MOST)
    return Quantity(-nano if sign == "-" else nano, family)


def _scaled(digits: int, exponent: int) -> int:
    """digits * 10**exponent in billionths, rounded up."""
    exponent += 9
    if exponent >= 0:
        return digits * 10 ** min(exponent, 60) if digits else 0
    return -(-digits // 10 ** min(-exponent, 400))


def parse(value: Any) -> Quantity:
    """A quantity from its JSON form (string or number). ValueError with Kubernetes' text if it is none."""
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(ERROR)
    return _parse(repr(value))


@functools.lru_cache(maxsize=16384)
def _canonical(text: str) -> str:
    return render(_parse(text))


def canonical(value: Any) -> str:
    """The text that the API server answers with: `0.5` becomes `500m`, `1024Mi` becomes `1Gi`."""
    return _canonical(value if isinstance(value, str) else repr(value) if not isinstance(value, bool) else "")


def render(q: Quantity) -> str:
    """Canonical text of a value in its family."""
    sign, nano = ("-", -q.nano) if q.nano < 0 else ("", q.nano)
    if nano == 0:
        return "0"
    if q.family == "binary" and nano >= 1024 * NANO:
        whole = -(-nano // NANO)
        power = 0
        while whole % 1024 == 0 and power < 60:
            whole //= 1024
            power += 10
        return f"{sign}{whole}{_BY_POWER.get(power, '')}"
    exponent = -9
    while nano % 1000 == 0 and exponent < 18:
        nano //= 1000
        exponent += 3
    if q.family == "exponent":
        return f"{sign}{nano}" + (f"e{exponent}" if exponent else "")
    return f"{sign}{nano}{_BY_EXPONENT[exponent]}"


def milli_value(value: Any) -> int:
    """In thousandths, rounded up."""
    return -(-parse(value).nano // 10**6)


def value(text: Any) -> int:
    """In whole units, rounded up."""
    return -(-parse(text).nano // NANO)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1."""
    x, y = parse(a).nano, parse(b).nano
    return (x > y) - (x < y)


def add(a: Any, b: Any) -> str:
    """The sum, written in the family of the first."""
    x, y = parse(a), parse(b)
    return render(Quantity(x.nano + y.nano, x.family if x.nano else y.family))


def sub(a: Any, b: Any) -> str:
    """The difference, written in the family of the first."""
    x, y = parse(a), parse(b)
    return render(Quantity(x.nano - y.nano, x.family if x.nano else y.family))


def sign(text: Any) -> int:
    """-1, 0 or 1."""
    nano = parse(text).nano
    return (nano > 0) - (nano < 0)


def round_up_to_milli(text: Any) -> str:
    """The same value without anything finer than a thousandth."""
    q = parse(text)
    return render(Quantity(-(-q.nano // 10**6) * 10**6, q.family))
