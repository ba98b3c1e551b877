"""How large values of a schema can become: what the costs of rules are estimated with before there is any object.

A bound comes from maxLength, maxItems, maxProperties or enum; without one the value is as large as a request of 3 MiB can make it, given
the least room that its parts take in JSON. Reference: "Resource use by CEL functions" and "Validation rules" in the documentation of
CustomResourceDefinitions ("the estimated cost").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.cel.declarations import META, escape

#: Bytes of a request.
REQUEST = 3 * 1024 * 1024
#: Characters of the longest time and duration, and of a date, with their quotation marks.
_LONGEST = {"duration": 32, "date-time": 32, "date": 12}
#: Bytes of the shortest.
_SHORTEST = {"duration": 3, "date-time": 21, "date": 12}
_SCALARS = {"boolean": 4, "number": 1, "integer": 1}


@dataclass(slots=True)
class Bounds:
    """`most` characters, bytes, elements or entries (0 for what has no length); `least` bytes of JSON."""

    most: int = 0
    least: int = 0
    fields: dict[str, Bounds] = field(default_factory=dict)
    element: Bounds | None = None
    key: Bounds | None = None

    def below(self, step: str) -> Bounds | None:
        """A field, or the elements (`@items`, `@values`) or keys (`@keys`) of a container."""
        if step in ("@items", "@values"):
            return self.element
        return self.key if step == "@keys" else self.fields.get(step)


def bounds_of(schema: Mapping[str, Any], *, root: bool = False) -> Bounds | None:
    """The bounds of a schema's values; None where expressions cannot see them. `root`: of whole objects."""
    if schema.get("x-kubernetes-int-or-string"):
        return Bounds(REQUEST - 2, 1)
    kind = schema.get("type", "")
    if kind == "array":
        return _list(schema)
    if kind == "object":
        return _object(schema, root or bool(schema.get("x-kubernetes-embedded-resource")))
    if kind == "string":
        return Bounds(_longest(schema), _SHORTEST.get(schema.get("format", ""), 2))
    return Bounds(0, _SCALARS[kind]) if kind in _SCALARS else None


def _list(schema: Mapping[str, Any]) -> Bounds | None:
    element = bounds_of(schema.get("items") or {})
    if element is None:
        return None
    most = schema.get("maxItems")
    return Bounds((REQUEST - 2) // (element.least + 1) if most is None else max(most, 0), 2, element=element)


def _object(schema: Mapping[str, Any], root: bool) -> Bounds | None:
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        element = bounds_of(values)
        if element is None:
            return None
        most = schema.get("maxProperties")
        entries = (REQUEST - 2) // (element.least + 6) if most is None else max(most, 0)
        return Bounds(entries, 2, element=element, key=Bounds(0, 2))
    out, needed = Bounds(0, 2), schema.get("required") or ()
    for name, child in (dict(schema.get("properties") or {}) | (META if root else {})).items():
        found = bounds_of(child)
        if found is None:
            continue
        escaped = escape(name)
        if escaped is not None:
            out.fields[escaped] = found
        if name in needed and child.get("default") is None:
            out.least += len(name) + found.least + 4
    return out


def _longest(schema: Mapping[str, Any]) -> int:
    form = schema.get("format", "")
    if form in _LONGEST:
        return _LONGEST[form]
    if schema.get("maxLength") is not None:
        return max(int(schema["maxLength"]), 0)
    if form != "byte" and schema.get("enum"):
        return max(len(value) if isinstance(value, str) else 0 for value in schema["enum"])
    return REQUEST - 2


def most_often(bounds: Bounds) -> int:
    """How often a value of these bounds can be there in a list or map that has no limit of its own."""
    return REQUEST // (bounds.least + 1)
