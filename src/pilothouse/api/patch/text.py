"""Values as the reference server prints them inside a message: `map[image:x ports:[80 81]]`, and as types: `int64`, `string`."""

from __future__ import annotations

from typing import Any

import orjson


def plain(value: Any) -> str:
    """A value without quotes; members of objects in order of their names."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{plain(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(plain, value)) + "]"
    return _number(value) if isinstance(value, float) else str(value)


def quoted(value: Any) -> str:
    """A value as source text: strings quoted, objects with the type in front."""
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, str):
        return orjson.dumps(value).decode()
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{quoted(k)}:{quoted(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(quoted, value)) + "}"
    return plain(value)


def type_name(value: Any) -> str:
    """The type of a decoded JSON value in full: `map[string]interface {}`."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    return "[]interface {}" if isinstance(value, list) else kind_name(value)


def kind_name(value: Any) -> str:
    """The type of a decoded JSON value in one word: `map`, `slice`, `string`, `int64`, `float64`, `bool`, `<nil>`."""
    for types, name in ((bool, "bool"), (int, "int64"), (float, "float64"), (str, "string"), (list, "slice"), (dict, "map")):
        if isinstance(value, types):
            return name
    return "<nil>"


def as_string_verb(value: Any) -> str:
    """A value printed where a string was expected: anything else shows its type."""
    if isinstance(value, str):
        return value
    return "%!s(<nil>)" if value is None else f"%!s({type_name(value)}={plain(value)})"


def _number(value: float) -> str:
    exponent = "e" in (text := repr(value))
    if exponent or not value.is_integer() or abs(value) >= 1e21:
        return text
    return str(int(value))
