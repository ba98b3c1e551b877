"""Whether an applied configuration has the shape of its kind: known fields, right types, list elements told apart by their keys.

Server-side apply needs this before it can merge; an ordinary write finds the same mistakes when it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilothouse.api.apply.fieldset import element_text, keys_text, value_element
from pilothouse.api.apply.types import MAP, SET, Type
from pilothouse.api.patch.text import plain, quoted, type_name
from pilothouse.api.schema import Schema

_NUMBERS = ("integer", "number")
_STRINGS = ("string", "bytes", "time", "microtime", "duration")


def problems(t: Type, value: Any) -> list[str]:
    """What is wrong, each with the path in front: `.spec.gone: field not declared in schema`."""
    return list(_problems(t, value, ""))


def _problems(t: Type, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    kind = t.schema.type
    if kind in ("object", "map"):
        yield from _object_problems(t, value, path)
    elif kind == "list":
        yield from _list_problems(t, value, path)
    elif kind != "any":
        problem = _scalar_problem(t.schema, value)
        if problem:
            yield f"{path}: {problem}"


def _object_problems(t: Type, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected map, got &{{{plain(value)}}}"
        return
    fields, anything = t.schema.fields, t.schema.items
    for name, below in value.items():
        if name not in fields and anything is None:
            yield f"{path}.{name}: field not declared in schema"
        else:
            yield from _problems(_below(t, name), below, f"{path}.{name}")


def _below(t: Type, name: str) -> Type:
    """The child, whether or not it is owned part by part: what is atomic has a shape all the same."""
    schema = t.schema.fields.get(name) or t.schema.items
    found = t.child(name)
    return found if schema is None or found.schema is schema else Type(schema)


def _list_problems(t: Type, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got &{{{plain(value)}}}"
        return
    items = t.items if t.kind in (SET, MAP) else Type(t.schema.items or Schema("any"))
    seen: set[str] = set()
    for at, item in enumerate(value):
        key = f"i:{at}"
        if t.kind in (SET, MAP):
            missing = _missing_key(t, item)
            if missing:
                yield f"{path}: element {at}: {missing}"
                continue
            key = value_element(item) if t.kind == SET else t.element(item)
            if key in seen:
                text = f"={key[2:]}" if t.kind == SET else keys_text(t.key_values(item))
                yield f"{path}: duplicate entries for key [{text}]"
            seen.add(key)
        yield from _problems(items, item, path + element_text(key))


def _missing_key(t: Type, item: Any) -> str:
    if t.kind == SET:
        return "" if item is not None else "associative list without keys has an element that's an explicit null"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    if not t.key_values(item):
        names = " ".join(f'"{key}"' for key in t.keys)
        return f"associative list with keys has an element that omits all key fields [{names}] (and doesn't have default values for any key fields)"
    return ""


def _scalar_problem(schema: Schema, value: Any) -> str:
    if schema.type in _NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return f"expected numeric (int or float), got {type_name(value)}"
    if schema.type in _STRINGS and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{quoted(value)}}}"
    if schema.type == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{plain(value)}}}"
    return ""
