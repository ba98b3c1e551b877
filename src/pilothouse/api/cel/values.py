"""Values of the language that Python has no type for, and what equality and order mean between all of them.

int is Python's int (kept within 64 bits), double float, string str, bytes bytes, null None, lists and maps list and dict.
"""

from __future__ import annotations

import datetime
import functools
from typing import Any

from pilothouse.api.cel.errors import CelError

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
NANO = 1_000_000_000


class Uint(int):
    """An unsigned 64-bit number."""


class Duration(int):
    """A length of time in nanoseconds."""


class Timestamp(int):
    """A moment: nanoseconds since 1970 in UTC."""


class Optional:
    """A value that may not be there."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and self.present == other.present and equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.present, repr(self.value)))


NONE = Optional(False)


class Message(dict[str, Any]):
    """An object of a named type that was written out: `JSONPatch{op: "add"}`."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.type_name = type_name

    @property
    def cel_type(self) -> str:
        return self.type_name


class TypeValue:
    """A type as a value: `type(1) == int`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


_NAMES: dict[type, str] = {
    bool: "bool", int: "int", Uint: "uint", float: "double", str: "string", bytes: "bytes", type(None): "null_type", list: "list",
    dict: "map", Duration: "google.protobuf.Duration", Timestamp: "google.protobuf.Timestamp", Optional: "optional_type",
    TypeValue: "type",
}  # fmt: skip


def type_name(value: Any) -> str:
    """The runtime type's name: int, google.protobuf.Timestamp, net.IP, ..."""
    name = _NAMES.get(type(value))
    return name if name is not None else str(getattr(value, "cel_type", type(value).__name__))


_NUMBERS = (int, Uint, float)


def equal(a: Any, b: Any) -> bool:
    """Equality as the language has it: numbers by value, lists and maps by their elements, other types never across."""
    ta, tb = type(a), type(b)
    if ta is list and tb is list:
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
    if ta is tb:
        return bool(a == b)
    return bool(ta in _NUMBERS and tb in _NUMBERS and a == b)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1; CelError for what has no order."""
    ta, tb = type(a), type(b)
    if not (ta is tb or (ta in _NUMBERS and tb in _NUMBERS)) or ta in (list, dict, type(None)):
        raise CelError("no such overload")
    if ta is float and a != a:
        raise CelError("NaN values cannot be ordered")
    return -1 if a < b else (0 if a == b else 1)


def checked_int(value: int, kind: str = "integer overflow") -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelError(kind)


def checked_uint(value: int) -> Uint:
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelError("unsigned integer overflow")


@functools.cache
def zone(name: str) -> datetime.tzinfo:
    """A time zone by its name or as an offset (`+01:00`)."""
    import re
    import zoneinfo

    if re.fullmatch(r"[+-]?\d\d:\d\d", name):
        hours, minutes = name.lstrip("+-").split(":")
        delta = datetime.timedelta(hours=int(hours), minutes=int(minutes))
        return datetime.timezone(-delta if name.startswith("-") else delta)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise CelError(f"unknown time zone {name}") from None


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def moment(value: Timestamp, where: str = "") -> datetime.datetime:
    """The moment in a time zone (UTC where none is named), cut to microseconds."""
    utc = _EPOCH + datetime.timedelta(microseconds=int(value) // 1000)
    return utc.astimezone(zone(where)) if where else utc
