"""Empty lists that are always written: null once an object is stored.

The reference server keeps objects in a form that cannot tell an empty list from none, so `rules: []` comes back as `rules: null`.
While a request is being worked on, the two are different: who sent an empty list owns the field.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pilothouse.api.errors import Obj
from pilothouse.api.schema import Schema


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to look at in an object: lists that become null, and fields that have such lists inside."""

    lists: tuple[str, ...]
    objects: tuple[tuple[str, _Plan], ...]
    items: tuple[tuple[str, _Plan], ...]


def to_null(obj: Obj, schema: Schema) -> None:
    """Make null, in place, every empty list that the kind always writes."""
    if schema.name:
        plan = _plan_of(schema)
        if plan is not None:
            _apply(obj, plan)


@functools.cache
def _plan_of(schema: Schema) -> _Plan | None:
    return _plan(schema, frozenset())


def _plan(schema: Schema, within: frozenset[str]) -> _Plan | None:
    if schema.name in within:
        return None
    inside = within | {schema.name} if schema.name else within
    lists: list[str] = []
    objects: list[tuple[str, _Plan]] = []
    items: list[tuple[str, _Plan]] = []
    for name, sub in schema.fields.items():
        if sub.always and sub.type == "list":
            lists.append(name)
        element = sub.items if sub.type == "list" else sub
        if element is None or element.type != "object":
            continue
        plan = _plan(element, inside)
        if plan is not None:
            (items if sub.type == "list" else objects).append((name, plan))
    return _Plan(tuple(lists), tuple(objects), tuple(items)) if lists or objects or items else None


def _apply(obj: Obj, plan: _Plan) -> None:
    for name in plan.lists:
        if obj.get(name) == []:
            obj[name] = None
    for name, inner in plan.objects:
        value = obj.get(name)
        if value:
            _apply(value, inner)
    for name, inner in plan.items:
        for element in obj.get(name) or ():
            if element:
                _apply(element, inner)
