"""Between types: int(), string(), type(), dyn() and their like (CEL specification)."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.lib import times
from pilothouse.api.cel.values import (
    NANO,
    Duration,
    Timestamp,
    TypeValue,
    Uint,
    checked_int,
    checked_uint,
    type_name,
)  # fmt: skip


def to_int(value: Any) -> int:
    if isinstance(value, Timestamp):
        return int(value) // NANO
    if isinstance(value, str):
        return checked_int(_parse(value, "int", r"[+-]?\d+"))
    if isinstance(value, float) and not -9.3e18 < value < 9.3e18:
        raise CelError("integer overflow")
    return checked_int(int(value))


def to_uint(value: Any) -> Uint:
    if isinstance(value, str):
        return checked_uint(_parse(value, "uint", r"\d+"))
    if isinstance(value, float) and not 0 <= value < 1.9e19:
        raise CelError("unsigned integer overflow")
    return checked_uint(int(value))


def _parse(text: str, kind: str, pattern: str) -> int:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise CelError(f"type conversion error from 'string' to '{kind}'")
    return int(text)


def to_double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise CelError("type conversion error from 'string' to 'double'") from None


def to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, Timestamp):
        return times.show_timestamp(value)
    if isinstance(value, Duration):
        return times.show_duration(value)
    return str(value)


def _double(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


def to_bool(value: Any) -> bool:
    if value in ("1", "t", "T", "TRUE", "true", "True") or value is True:
        return True
    if value in ("0", "f", "F", "FALSE", "false", "False") or value is False:
        return False
    raise CelError("type conversion error from 'string' to 'bool'")


_TO = {
    "int": (to_int, ("int", "uint", "double", "string", "timestamp")),
    "uint": (to_uint, ("int", "uint", "double", "string")),
    "double": (to_double, ("int", "uint", "double", "string")),
    "string": (to_string, ("int", "uint", "double", "string", "bool", "bytes", "timestamp", "duration")),
    "bool": (to_bool, ("bool", "string")),
    "bytes": (lambda v: v if isinstance(v, bytes) else v.encode(), ("bytes", "string")),
    "timestamp": (lambda v: times.parse_timestamp(v) if isinstance(v, str) else Timestamp(v if isinstance(v, Timestamp) else v * NANO),
                  ("string", "int", "timestamp")),
    "duration": (lambda v: times.parse_duration(v) if isinstance(v, str) else Duration(v if isinstance(v, Duration) else v * NANO),
                 ("string", "int", "duration")),
}  # fmt: skip

FUNCTIONS: list[tuple[str, Any]] = [
    *[(f"{name}({t}) -> {name}", run) for name, (run, kinds) in _TO.items() for t in kinds],
    ("type(A) -> type(A)", lambda v: TypeValue(type_name(v))),
    ("dyn(A) -> dyn", lambda v: v),
]
