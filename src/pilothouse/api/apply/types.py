"""A schema as field ownership sees it: what is owned as a whole, and what is owned part by part.

A node is a LEAF (a scalar, an atomic list, an atomic map), a STRUCT (named fields, or a map whose entries are owned one by one),
a SET (a list of values) or a MAP (a list of objects told apart by keys). Types are made from schemas once and kept.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.apply.fieldset import Fields, key_element
from pilothouse.api.schema import Schema

LEAF, STRUCT, SET, MAP = range(4)

_ZERO = {"string": "", "integer": 0, "number": 0, "boolean": False, "bytes": "", "quantity": "0", "intorstring": 0, "object": {}}


class Type:
    """One node. `always` names the fields that the server writes even when they have no value, so that they are never new."""

    __slots__ = ("_children", "_inner", "always", "defaults", "items", "keys", "kind", "schema", "shaper", "shapes")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.kind = _kind(schema)
        self._children: dict[str, Type] = {}
        self._inner: dict[str, Type] | None = None
        self.items: Type = ANY if self.kind != LEAF else self
        self.keys: tuple[str, ...] = schema.list_keys
        self.defaults: dict[str, Any] = {}
        self.always: frozenset[str] = frozenset()
        #: What finds a value's shape, once it is needed; and the fields of new objects by their shape. See `shape` and `typed.created`.
        self.shaper: Any = None
        self.shapes: dict[Any, Fields] = {}
        if self.kind in (SET, MAP) or schema.type == "map":
            self.items = Type(schema.items) if schema.items is not None else ANY
        if self.kind == MAP and schema.items is not None:
            self.defaults = _key_defaults(schema.items, self.keys)
        elif schema.type == "object" and self.kind == STRUCT:
            self.always = _always(schema)

    def child(self, name: str) -> Type:
        """The type of a named field or map entry; what no schema describes is owned part by part, its lists as a whole."""
        found = self._children.get(name)
        if found is None:
            schema = self.schema.fields.get(name)
            if schema is None:
                return self.items
            found = self._children[name] = Type(schema)
        return found

    @property
    def inner(self) -> dict[str, Type]:
        """The named fields that are owned part by part."""
        found = self._inner
        if found is None:
            every = ((name, self.child(name)) for name in self.schema.fields)
            found = self._inner = {name: t for name, t in every if t.kind != LEAF}
        return found

    def zero(self, name: str) -> Any:
        """What an `always` field holds when nothing was set."""
        return _ZERO.get(self.schema.fields[name].type)

    def element(self, item: Any) -> str:
        """The path element of a MAP's item."""
        if item.__class__ is not dict:
            return key_element({})
        keys = self.keys
        if len(keys) == 1:
            value = item.get(keys[0])
            if value.__class__ is str and value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
                return f'k:{{"{keys[0]}":"{value}"}}'
        return key_element(self.key_values(item))

    def key_values(self, item: dict[str, Any]) -> dict[str, Any]:
        """The keys of a MAP's item; a key that is left out counts as its default."""
        return {k: item[k] if k in item else self.defaults[k] for k in sorted(self.keys) if k in item or k in self.defaults}


def _kind(schema: Schema) -> int:
    if schema.type in ("object", "map", "any"):
        return LEAF if schema.map_type == "atomic" else STRUCT
    if schema.type == "list":
        return {"set": SET, "map": MAP}.get(schema.list_type, LEAF)
    return LEAF


def _always(schema: Schema) -> frozenset[str]:
    return frozenset(name for name, field in schema.fields.items() if field.always)


def _key_defaults(item: Schema, keys: tuple[str, ...]) -> dict[str, Any]:
    """Defaults of a list's keys: those declared, and the zero value of keys that are required."""
    out = {}
    for key in keys:
        if key in item.defaults:
            out[key] = item.defaults[key]
        elif key in item.required and key in item.fields:
            out[key] = _ZERO.get(item.fields[key].type)
    return out


ANY: Type = Type.__new__(Type)
ANY.__init__(Schema("any"))  # type: ignore[misc]  # its own items, so it must exist before it is made

_made: dict[int, Type] = {}


def type_of(schema: Schema) -> Type:
    """The type of a kind's schema. Kept by the schema's identity; custom resources bring new schemas, so the table is bounded."""
    found = _made.get(id(schema))
    if found is None or found.schema is not schema:
        if len(_made) >= 1024:
            _made.clear()
        found = _made[id(schema)] = Type(schema)
    return found
