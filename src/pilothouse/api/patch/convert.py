"""Whether a patched document still has the shape of its kind, in the words in which the reference server refuses it.

A strategic merge patch is applied to the decoded object, so a value of the wrong type is found when the result is put back into
it. The answer is 422 and shows the patch, not the object.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import StatusError, invalid, invalid_object
from pilothouse.api.normalize import Kept
from pilothouse.api.patch.text import kind_name
from pilothouse.api.schema import Schema

_INTEGERS = {"": "int64", "int32": "int32", "int64": "int64"}


def patch_invalid(shown: str, problem: str) -> StatusError:
    """422 for a patch whose result cannot be the kind; `shown` is the patch (strategic) or the result (the other formats) as text."""
    return invalid_object("", "", "", [invalid("patch", shown, problem)])


def conversion_problem(value: Any, schema: Schema) -> str | None:
    """The first thing in `value` that does not fit the schema, or None. Formats of strings are left to decoding."""
    if value is None or type(value) is Kept:
        return None
    kind = schema.type
    if kind in ("object", "map"):
        return _object_problem(value, schema)
    if kind == "list":
        if not isinstance(value, list):
            return f"cannot restore slice from {kind_name(value)}"
        items = schema.items
        return next((p for v in value if items and (p := conversion_problem(v, items))), None)
    return _scalar_problem(value, schema)


def _object_problem(value: Any, schema: Schema) -> str | None:
    if not isinstance(value, dict):
        return (
            f"cannot restore map from {kind_name(value)}"
            if schema.type == "map"
            else f"cannot restore struct from: {kind_name(value)}"
        )
    fields, items = schema.fields, schema.items
    for name, below in value.items():
        child = fields.get(name, items)
        problem = conversion_problem(below, child) if child else None
        if problem:
            return problem
    return None


def _scalar_problem(value: Any, schema: Schema) -> str | None:
    kind = schema.type
    if kind == "string":
        return None if isinstance(value, str) else _mismatch(value, "string")
    if kind == "boolean":
        return None if isinstance(value, bool) else _mismatch(value, "bool")
    if kind == "integer":
        size = _INTEGERS.get(schema.format, "int64")
        if isinstance(value, bool) or not isinstance(value, int):
            return _mismatch(value, size)
        limit = 1 << (31 if size == "int32" else 63)
        return None if -limit <= value < limit else f"cannot convert int64 to {size}: overflow"
    return None


def _mismatch(value: Any, wanted: str) -> str:
    """Numbers and booleans say what they are; text and containers only what was wanted."""
    found = kind_name(value)
    if found in ("int64", "float64", "bool"):
        return f"cannot convert {found} to {wanted}"
    return f"unrecognized type: {wanted}"
