"""Whether an object has its schema's shape all through, so that it can be said who owns which field of it.

Only custom resources may not: they were stored under an older schema, hold fields that another of their versions does not know, or
have sets of objects. The reference server then gives up tracking an object that is created or updated. What is looked at is shape:
known fields, types, elements of sets and keyed lists; metadata is always in shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.apply.types import MAP, SET, Type
from pilothouse.api.schema import Schema

Fits = Callable[[Any], bool]

_SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
}
_NOT_CHECKED = ("apiVersion", "kind", "metadata")
_made: dict[int, tuple[Schema, Fits]] = {}


def conforms(schema: Schema, obj: Any) -> bool:
    """Whether an object of a kind has its shape. What is found out about a schema is kept by its identity."""
    found = _made.get(id(schema))
    if found is None or found[0] is not schema:
        if len(_made) >= 1024:
            _made.clear()
        found = _made[id(schema)] = (schema, _fits(schema, root=True))
    return found[1](obj)


def _anything(value: Any) -> bool:
    return True


def _fits(schema: Schema, root: bool = False) -> Fits:
    if schema.type in ("object", "map"):
        return _object(schema, root)
    if schema.type == "list":
        return _list(schema)
    types = _SCALARS.get(schema.type)
    if types is None:
        return _anything
    return lambda value: value is None or type(value) in types


def _object(schema: Schema, root: bool) -> Fits:
    made: dict[str, Fits] = dict.fromkeys(_NOT_CHECKED, _anything) if root else {}
    rest = schema.items

    def fits(value: Any) -> bool:
        if type(value) is not dict:
            return value is None
        for name, item in value.items():
            below = made.get(name)
            if below is None:
                sub = schema.fields.get(name)
                if sub is None:
                    if rest is None:
                        return False
                    sub = rest
                below = made[name] = _fits(sub)
            if not below(item):
                return False
        return True

    return fits


def _list(schema: Schema) -> Fits:
    made: list[Fits] = []
    t = Type(schema)

    def fits(value: Any) -> bool:
        if type(value) is not list:
            return value is None
        if t.kind == SET and any(item is None or type(item) in (dict, list) for item in value):
            return False
        if t.kind == MAP and any(type(item) is not dict or not t.key_values(item) for item in value):
            return False
        if not made:
            made.append(_fits(schema.items) if schema.items is not None else _anything)
        return all(map(made[0], value))

    return fits
