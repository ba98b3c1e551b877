"""What an object loses when it is stored: an empty list that is always written comes back as null.

The reference server's storage format does not tell an empty list from none. A client that sends `rules: []` owns the field, and reads
`rules: null` afterwards. Lists that are left out when empty are gone already (normalize.py), so only the others need looking at; the
walk is compiled once per kind and touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.schema import Schema

Settler = Callable[[Any], None]


def settle(obj: Obj, schema: Schema) -> None:
    """Make the always-written empty lists of an object null, in place."""
    walk = settler(schema)
    if walk is not None:
        walk(obj)


def settler(schema: Schema) -> Settler | None:
    """The compiled walk of a node; None if there is nothing to do in it."""
    if schema.settler is False:
        schema.settler = _make(schema, frozenset())
    found: Settler | None = schema.settler
    return found


def _make(schema: Schema, above: frozenset[str]) -> Settler | None:
    if schema.type == "object":
        if schema.name in above:
            return None  # a recursive type: nothing in it is always written
        return _make_object(schema, above | {schema.name} if schema.name else above)
    inner = _make(schema.items, above) if schema.items is not None else None
    if inner is None:
        return None
    return _each_element(inner) if schema.type == "list" else _each_value(inner)


def _make_object(schema: Schema, above: frozenset[str]) -> Settler | None:
    fields = [(name, _empties(sub), _make(sub, above)) for name, sub in schema.fields.items()]
    wanted = [field for field in fields if field[1] or field[2]]
    if not wanted:
        return None

    def walk(value: Any) -> None:
        for name, empties, inner in wanted:
            item = value.get(name)
            if item:
                if inner is not None:
                    inner(item)
            elif empties and item is not None:
                value[name] = None

    return walk


def _empties(schema: Schema) -> bool:
    return schema.always and schema.type in ("list", "map")


def _each_element(inner: Settler) -> Settler:
    def walk(value: Any) -> None:
        for item in value:
            if item:
                inner(item)

    return walk


def _each_value(inner: Settler) -> Settler:
    def walk(value: Any) -> None:
        for item in value.values():
            if item:
                inner(item)

    return walk
