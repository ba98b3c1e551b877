"""The shape of an object: a hashable that two objects share if, and only if, the same fields are set in both.

Creating objects is the commonest write, and most new objects look like one before them: other names and images, the same fields.
So a new object's field set is looked up by its shape. One function is made per type, when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.apply.fieldset import value_element
from pilothouse.api.apply.types import LEAF, MAP, SET, Type

Shape = Callable[[Any], Any]


def shape_of(t: Type) -> Shape:
    """The function that gives a value's shape; the value is not empty and of the type's kind."""
    made: Shape | None = t.shaper
    if made is None:
        made = t.shaper = _make(t)
    return made


def _make(t: Type) -> Shape:
    if t.kind == MAP:
        return _of_keyed_list(t)
    if t.kind == SET:
        return lambda values: tuple(map(value_element, values))
    if t.schema.type == "object" and t.items.schema.type == "any" and not t.schema.items:
        return _of_fields(t) if t.inner else tuple
    return tuple if t.items.kind == LEAF else _of_entries(t)


class _Below(dict[str, "Shape | None"]):
    """A type's fields, by name: the function of each that is owned part by part, made at its first use; None for the others."""

    def __init__(self, t: Type) -> None:
        super().__init__()
        self._inner = t.inner

    def __missing__(self, name: str) -> Shape | None:
        child = self._inner.get(name)
        found = self[name] = None if child is None else shape_of(child)
        return found


def _of_fields(t: Type) -> Shape:
    """Names of the fields that are set, then the shapes of those that are owned part by part."""
    shapes = _Below(t)

    def shape(value: dict[str, Any]) -> Any:
        out: list[Any] = [*value]
        for name in value:
            below = shapes[name]
            if below is not None:
                found = value[name]
                out.append(below(found) if found else None)
        return tuple(out)

    return shape


def _of_keyed_list(t: Type) -> Shape:
    """Keys and shape of each element."""
    keys, below = t.keys, shape_of(t.items)
    if len(keys) == 1:
        key = keys[0]
        return lambda items: tuple([part for item in items for part in (item.get(key), below(item))])
    return lambda items: tuple([part for item in items for part in (*[item.get(k) for k in keys], below(item))])


def _of_entries(t: Type) -> Shape:
    """Names and shapes of what the schema does not name: entries of a map, or free-form fields."""
    below: Shape | None = None

    def shape(value: Any) -> Any:
        nonlocal below
        if below is None:
            below = shape_of(t.items)
        if value.__class__ is not dict:
            return value.__class__
        return tuple([(name, below(v) if v.__class__ is dict or v.__class__ is list else None) for name, v in value.items()])

    return shape
