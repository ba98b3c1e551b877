"""Types of expressions from structural schemas (OpenAPI v3 as a CRD has it).

Names of properties are escaped as the documentation of validation rules says: `__dot__`, `__dash__`, `__slash__`, `__underscores__`,
and keywords between double underscores. What cannot be reached by a name is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pilothouse.api.cel import types
from pilothouse.api.cel.parser import RESERVED
from pilothouse.api.cel.types import Type

_KEYWORDS = RESERVED | {"true", "false", "null", "in"}
_ESCAPES = {".": "__dot__", "-": "__dash__", "/": "__slash__"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STRINGS = {"date-time": types.TIMESTAMP, "date": types.TIMESTAMP, "duration": types.DURATION, "byte": types.BYTES}
_SCALARS = {"integer": types.INT, "number": types.DOUBLE, "boolean": types.BOOL}
META = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}},
}


def escape(name: str) -> str | None:
    """A property's name in expressions; None where it has none."""
    if name in _KEYWORDS:
        return f"__{name}__"
    found = re.sub(r"__|[.\-/]", lambda m: _ESCAPES.get(m.group(), "__underscores__"), name)
    return found if _IDENTIFIER.fullmatch(found) else None


def type_of(schema: Mapping[str, Any], name: str = "selfType", *, root: bool = False) -> Type | None:
    """The type of values of a schema; None where expressions cannot see them (fields of unknown shape).

    `root` is for whole objects and embedded ones, which have apiVersion, kind and a name.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return types.DYN
    kind = schema.get("type", "")
    if kind == "array":
        item = type_of(schema.get("items") or {}, f"{name}.@idx")
        return None if item is None else types.list_of(item)
    if kind == "object":
        return _object(schema, name, root or bool(schema.get("x-kubernetes-embedded-resource")))
    if kind == "string":
        return _STRINGS.get(schema.get("format", ""), types.STRING)
    return _SCALARS.get(kind)


def _object(schema: Mapping[str, Any], name: str, root: bool) -> Type | None:
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        item = type_of(values, f"{name}.@elem")
        return None if item is None else types.map_of(types.STRING, item)
    fields: dict[str, tuple[str, Type]] = {}
    properties = dict(schema.get("properties") or {}) | (META if root else {})
    for prop, child in properties.items():
        escaped = escape(prop)
        kind = type_of(child, f"{name}.{prop}") if escaped is not None else None
        if escaped is not None and kind is not None:
            fields[escaped] = (prop, kind)
    return Type("object", name=name, fields=fields)
