"""Selectable fields of a definition's versions: at most eight simple paths to strings, booleans and integers.

KEP-4358, custom resource field selectors.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required, too_many

_LIMIT = 8
_SCALARS = ("string", "boolean", "integer")
_KIND = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."


def errors(fields: list[Obj], schema: Obj, path: str) -> list[FieldError]:
    """What is wrong with a version's selectable fields."""
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, field in enumerate(fields):
        where, text = f"{path}[{n}].jsonPath", field.get("jsonPath") or ""
        if not text:
            out.append(required(where))
            continue
        problem = _problem(text, schema)
        if problem:
            out.append(invalid(where, text, problem))
        elif text in seen:
            out.append(duplicate(where, text))
        seen.add(text)
    if len(fields) > _LIMIT:
        out.append(too_many(path, len(fields), _LIMIT))
    return out


def _problem(text: str, schema: Obj) -> str:
    if "[" in text:
        return "is an invalid path: array notation is not allowed"
    if not text.startswith("."):
        return f"is an invalid path: expected [ or . but got: {text.split('.')[0]}"
    found = _walk(text[1:].split("."), schema)
    if found is None:
        return "is an invalid path: does not refer to a valid field"
    return "" if found.get("type") in _SCALARS else _KIND


def _walk(names: list[str], schema: Obj) -> Obj | None:
    if names[0] in ("metadata", "kind", "apiVersion"):
        return None
    node: Any = schema
    for name in names:
        extra = node.get("additionalProperties")
        node = (node.get("properties") or {}).get(name) or (extra if isinstance(extra, dict) else None)
        if node is None:
            return None
    found: Obj = node
    return found
