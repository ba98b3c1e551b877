"""Types of expressions from the schemas of built-in kinds. Fields are looked up when an expression names them: kinds refer to themselves.

Words that the language keeps for itself go by their own names, too (`object.metadata.namespace`), because that is how they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilothouse.api.cel import types
from pilothouse.api.cel.declarations import escape
from pilothouse.api.cel.types import DYN, Type
from pilothouse.api.schema import Schema

_SCALARS = {
    "string": types.STRING, "integer": types.INT, "number": types.DOUBLE, "boolean": types.BOOL, "bytes": types.BYTES,
    "time": types.TIMESTAMP, "microtime": types.TIMESTAMP, "duration": types.STRING, "quantity": types.STRING,
}  # fmt: skip


class _Fields(Mapping[str, tuple[str, Type]]):
    """The fields of one definition, by their escaped names."""

    def __init__(self, schema: Schema, name: str) -> None:
        self._schema = schema
        self._name = name
        self._found: dict[str, tuple[str, Type]] = {}

    def __getitem__(self, name: str) -> tuple[str, Type]:
        found = self._found.get(name)
        if found is None:
            fields = self._schema.fields
            real = name if name in fields else next((f for f in fields if escape(f) == name), None)
            if real is None:
                raise KeyError(name)
            found = self._found[name] = (real, type_of(fields[real], f"{self._name}.{real}"))
        return found

    def __iter__(self) -> Iterator[str]:
        return (escaped for f in self._schema.fields if (escaped := escape(f)) is not None)

    def __len__(self) -> int:
        return len(self._schema.fields)


def type_of(schema: Schema | None, name: str) -> Type:
    """The type of values of a schema; `name` is what messages call it."""
    if schema is None:
        return DYN
    if schema.type == "list":
        return types.list_of(type_of(schema.items, f"{name}.@idx"))
    if schema.type == "map":
        return types.map_of(types.STRING, type_of(schema.items, f"{name}.@elem"))
    if schema.type == "object":
        return Type("object", name=name, fields=_Fields(schema, name))
    return _SCALARS.get(schema.type, DYN)
