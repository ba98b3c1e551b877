"""What expressions of mutating policies write out: `Object{...}` and its parts, and `JSONPatch{...}` (KEP-3962), and how it becomes JSON.

The type of a part is named after its place, `Object.spec.template`, at any depth; its fields can be anything, because the kind of the object
is not known when the expression is compiled.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api.cel import types
from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.types import DYN, STRING, Type, list_of
from pilothouse.api.cel.values import Duration, Message, Optional, Timestamp, Uint


class _AnyField(Mapping[str, tuple[str, Type]]):
    """Every name is a field of any type."""

    def __getitem__(self, name: str) -> tuple[str, Type]:
        return name, DYN

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ROOT = "Object"
OBJECT = Type("object", name=_ROOT, fields=_AnyField())
_TEXTS = {name: (name, STRING) for name in ("op", "path", "from")}
JSON_PATCH = Type("object", name="JSONPatch", fields={**_TEXTS, "value": ("value", types.DYN)})
JSON_PATCHES = list_of(JSON_PATCH)


def messages(name: str) -> Type | None:
    """The types that can be written out."""
    if name == JSON_PATCH.name:
        return JSON_PATCH
    if name == _ROOT or name.startswith(f"{_ROOT}."):
        return Type("object", name=name, fields=_AnyField())
    return None


def configuration(value: Any) -> dict[str, Any]:
    """What an expression that evaluates to an Object wants to be merged into the object, as JSON. CelError for parts in the wrong places."""
    if not isinstance(value, Message) or value.type_name != _ROOT:
        raise CelError("the value is no Object")
    _check_places(value, _ROOT)
    out: dict[str, Any] = to_json(value)
    return out


def _check_places(value: Any, place: str) -> None:
    if isinstance(value, Message):
        if value.type_name != place:
            told = "which matches field name path from root Object type"
            raise CelError(f'unexpected type name "{value.type_name}", expected "{place}", {told}')
        for name, below in value.items():
            _check_places(below, f"{place}.{name}")
    elif isinstance(value, list):
        for item in value:
            _check_places(item, place)
    elif isinstance(value, dict):
        for below in value.values():
            _check_places(below, place)


def operations(value: Any) -> list[dict[str, Any]]:
    """What an expression that evaluates to a list of JSONPatch does, as a JSON Patch."""
    if not isinstance(value, list) or not all(isinstance(v, Message) and v.type_name == JSON_PATCH.name for v in value):
        raise CelError("the value is no list of JSONPatch")
    for operation in value:
        if isinstance(operation.get("value"), Message):
            _check_places(operation["value"], operation["value"].type_name)
    return [to_json(operation) for operation in value]


def to_json(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_json(v) for v in value]
    if isinstance(value, Optional):
        return to_json(value.value) if value.present else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp | Duration):
        from pilothouse.api.cel.lib import conversions

        return conversions.to_string(value)
    if isinstance(value, Uint):
        return int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
