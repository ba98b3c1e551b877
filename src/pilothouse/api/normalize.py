"""Values as the reference server would write them back: canonical quantities and times, no nulls, no zero values that it leaves out,
nothing that the kind does not know.

A decoder is compiled once for each schema node. The fast path knows no paths: a wrong value raises, and its place is put together on the
way out; an unknown field is only noticed, and where it was is asked afterwards (`unknown_fields`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pilothouse.api import base64text, quantity, tables, times
from pilothouse.api.errors import Obj
from pilothouse.api.schema import Schema

Decoder = Callable[[Any, "Findings"], Any]

_INT32 = 2**31
_INT64 = 2**63
_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number", type(None): "null"}
#: Types whose empty value is the same as none.
_DROPPED = {"string", "integer", "number", "boolean", "list", "map", "bytes", "time", "microtime"}


class Mismatch(ValueError):
    """A value of the wrong kind. `path` and `owner` (the innermost type with named fields) are filled in from the inside out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []
        self.owner = ""

    def text(self) -> str:
        """The message, with its place where the message wants one."""
        where = f"{self.owner}.{'.'.join(reversed(self.path))}"
        message = str(self)
        return message.replace("{}", where) if "{}" in message else message


class Kept:
    """A part of a value that is in the reference server's form already: decoding takes it as it is."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def unkept(value: Any) -> Any:
    """The value without marks: all of it is decoded again."""
    if type(value) is Kept:
        return value.value
    if type(value) is dict:
        return {k: unkept(v) for k, v in value.items()}
    return [unkept(v) for v in value] if type(value) is list else value


def keep(value: Any, known: Any, schema: Schema) -> Any:
    """`value` with every part that it shares with `known`, a value in the reference server's form, marked as kept."""
    if value is known:
        return Kept(value) if type(value) is dict or type(value) is list else value
    if type(value) is dict and type(known) is dict:
        if schema.type not in ("object", "map"):
            return value
        sub, items = schema.fields.get, schema.items
        return {k: keep(v, known.get(k), s) if (s := sub(k, items)) is not None else v for k, v in value.items()}
    if type(value) is list and type(known) is list and schema.type == "list" and schema.items is not None:
        same = {id(item): item for item in known}
        return [keep(item, same.get(id(item)), schema.items) for item in value]
    return value


#: Empty lists and maps that decoding dropped: the object that they were in, their name, and they themselves.
Emptied = list[tuple[Obj, str, Any]]


class Findings:
    """What one decoding noticed: whether any field was unknown (where, is asked later), and which empty lists and maps were dropped."""

    __slots__ = ("emptied", "unknown")

    def __init__(self) -> None:
        self.unknown = False
        self.emptied: Emptied = []


def normalize(value: Any, schema: Schema, findings: Findings | None = None) -> Any:
    """A fresh value in the reference server's form. Raises Mismatch."""
    return decoder(schema)(value, findings or Findings())


def decoder(schema: Schema) -> Decoder:
    """The compiled decoder of a node; made once."""
    made = schema.compiled
    if made is None:
        made = schema.compiled = _MAKERS[schema.type](schema)
    found: Decoder = made
    return found


def zero_of(schema: Schema) -> Any:
    """What an always-written field holds when nobody set it."""
    if schema.null_zero:
        return None
    kind = schema.type
    if kind == "object":
        return decoder(schema)({}, Findings())
    if kind in ("string", "bytes"):
        return ""
    if kind in ("integer", "number", "intorstring"):
        return 0
    if kind == "boolean":
        return False
    return "0" if kind == "quantity" else None


def json_type(value: Any) -> str:
    """What JSON calls a value."""
    return _JSON_TYPES.get(type(value), "value")


def _go_type(schema: Schema) -> str:
    """What the reference server's messages call a type."""
    kind = schema.type
    if kind == "object":
        return ".".join(schema.name.split(".")[-2:])
    if kind in ("list", "map") and schema.items is not None:
        return ("[]" if kind == "list" else "map[string]") + _go_type(schema.items)
    if kind == "integer":
        return schema.format or "int64"
    return {
        "number": "float64",
        "boolean": "bool",
        "bytes": "[]uint8",
        "quantity": "resource.Quantity",
        "intorstring": "int32",
    }.get(kind, "string")


def _wrong(value: Any, schema: Schema) -> Mismatch:
    return Mismatch(f"json: cannot unmarshal {json_type(value)} into Go struct field {{}} of type {_go_type(schema)}")


# --- objects, maps, lists ------------------------------------------------------------------------------------------------------------

#: Types of which any value will do: no decoder needs to be called.
_PLAIN: dict[str, type] = {"string": str, "boolean": bool}


#: How one field is decoded: values of the type are taken as they are, the others go through the decoder; empty ones may be dropped.
_Field = tuple[type | None, bool, Decoder]


def _field(fields: dict[str, _Field], name: str, schema: Schema) -> _Field:
    """A field whose decoder is compiled when it is first needed, and then takes this one's place."""
    plain = _PLAIN.get(schema.type)
    drops = schema.type in _DROPPED and not schema.always and not schema.keep_zero

    def first(value: Any, findings: Findings) -> Any:
        decode = decoder(schema)
        fields[name] = (plain, drops, decode)
        return decode(value, findings)

    return (plain, drops, first)


def _make_object(schema: Schema) -> Decoder:
    fields: dict[str, _Field] = {}
    for name, sub in schema.fields.items():
        fields[name] = _field(fields, name, sub)
    always = [(name, sub) for name, sub in schema.fields.items() if sub.always]
    find = fields.get
    owner = schema.name.rpartition(".")[2]

    def decode_object(value: Any, findings: Findings) -> Any:
        if type(value) is not dict:
            if type(value) is Kept:
                return value.value
            if value is None:
                value = {}
            else:
                raise _wrong(value, schema)
        out: Obj = {}
        for key, item in value.items():
            field = find(key)
            if field is None:
                findings.unknown = True
                continue
            plain, drops, decode = field
            if type(item) is plain:
                if item or not drops:
                    out[key] = item
            elif item is not None:
                try:
                    item = decode(item, findings)
                except Mismatch as e:
                    e.path.append(key)
                    e.owner = e.owner or owner
                    raise
                if item or not drops:
                    out[key] = item
                elif type(item) is dict or type(item) is list:
                    findings.emptied.append((out, key, item))
        for name, sub in always:
            if name not in out:
                out[name] = zero_of(sub)
        return out

    return decode_object


def _make_map(schema: Schema) -> Decoder:
    items = schema.items
    assert items is not None
    inner = decoder(items)
    plain = _PLAIN.get(items.type)

    def decode_map(value: Any, findings: Findings) -> Any:
        if type(value) is not dict:
            if type(value) is Kept:
                return value.value
            raise _wrong(value, schema)
        out = {}
        for key, item in value.items():
            if type(item) is plain:
                out[key] = item
                continue
            out[key] = zero_of(items) if item is None else inner(item, findings)
        return out

    return decode_map


def _make_list(schema: Schema) -> Decoder:
    items = schema.items
    assert items is not None
    made: list[Decoder] = []

    def decode_list(value: Any, findings: Findings) -> Any:
        if type(value) is not list:
            if type(value) is Kept:
                return value.value
            raise _wrong(value, schema)
        if not made:
            made.append(decoder(items))
        inner = made[0]
        return [zero_of(items) if item is None else inner(item, findings) for item in value]

    return decode_list


# --- scalars ---------------------------------------------------------------------------------------------------------------------------


def _make_string(schema: Schema) -> Decoder:
    def decode_string(value: Any, findings: Findings) -> Any:
        if type(value) is not str:
            raise _wrong(value, schema)
        return value

    return decode_string


def _make_integer(schema: Schema) -> Decoder:
    limit = _INT32 if schema.format == "int32" else _INT64

    def decode_integer(value: Any, findings: Findings) -> Any:
        if type(value) is not int:
            raise _wrong(value, schema)
        if not -limit <= value < limit:
            raise Mismatch(f"json: cannot unmarshal number {value} into Go struct field {{}} of type {_go_type(schema)}")
        return value

    return decode_integer


def _make_number(schema: Schema) -> Decoder:
    def decode_number(value: Any, findings: Findings) -> Any:
        if type(value) not in (int, float):
            raise _wrong(value, schema)
        return value

    return decode_number


def _make_boolean(schema: Schema) -> Decoder:
    def decode_boolean(value: Any, findings: Findings) -> Any:
        if type(value) is not bool:
            raise _wrong(value, schema)
        return value

    return decode_boolean


_CANONICAL: dict[str, Callable[[str], str]] = {
    "bytes": base64text.canonical,
    "time": times.canonical_time,
    "microtime": times.canonical_micro_time,
}


def _make_canonical(schema: Schema) -> Decoder:
    """Text with a meaning: base64 and times, in the one form that the reference server writes."""
    canonical = _CANONICAL[schema.type]

    def decode_canonical(value: Any, findings: Findings) -> Any:
        if type(value) is not str:
            raise _wrong(value, schema)
        try:
            return canonical(value)
        except ValueError as e:
            raise Mismatch(str(e)) from None

    return decode_canonical


def _make_quantity(schema: Schema) -> Decoder:
    def decode_quantity(value: Any, findings: Findings) -> Any:
        try:
            return quantity.canonical(value)
        except ValueError as e:
            raise Mismatch(str(e)) from None

    return decode_quantity


def _make_int_or_string(schema: Schema) -> Decoder:
    def decode_int_or_string(value: Any, findings: Findings) -> Any:
        if type(value) is str:
            return value
        if type(value) is not int and type(value) is not float:
            raise _wrong(value, schema)
        if type(value) is float or not -_INT32 <= value < _INT32:
            raise Mismatch(f"json: cannot unmarshal number {value} into Go struct field {{}} of type int32")
        return value

    return decode_int_or_string


# --- free-form JSON, and JSON schemas in it ------------------------------------------------------------------------------------------

_JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"


def _make_any(schema: Schema) -> Decoder:
    """Free-form JSON. `format` says where a JSON schema stands in it: its unknown fields are dropped without a word."""
    form = schema.format
    if not form:
        return lambda value, findings: value.value if type(value) is Kept else value

    def decode_either(value: Any, findings: Findings) -> Any:
        if type(value) is Kept:
            return value.value
        if type(value) is dict:
            return normalize(value, tables.schema_of(_JSON_SCHEMA))
        if form == "schema-or-bool":
            if type(value) is not bool:
                raise Mismatch("boolean or JSON schema expected")
            return value
        if type(value) is not list:
            return None
        if form == "schema-or-array":
            return [normalize(item, tables.schema_of(_JSON_SCHEMA)) for item in value]
        return value

    return decode_either


_MAKERS: dict[str, Callable[[Schema], Decoder]] = {
    "object": _make_object,
    "map": _make_map,
    "list": _make_list,
    "string": _make_string,
    "duration": _make_string,
    "integer": _make_integer,
    "number": _make_number,
    "boolean": _make_boolean,
    "bytes": _make_canonical,
    "time": _make_canonical,
    "microtime": _make_canonical,
    "quantity": _make_quantity,
    "intorstring": _make_int_or_string,
    "any": _make_any,
}


# --- where the unknown fields are ------------------------------------------------------------------------------------------------------


def unknown_fields(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Paths of the fields that the schema does not know, e.g. spec.containers[0].foo, in the order of the text."""
    out: list[str] = []
    if schema.type == "object" and isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            sub = schema.fields.get(key, schema.items)
            out += [where] if sub is None else unknown_fields(item, sub, where)
    elif schema.items is not None and isinstance(value, list):
        for n, item in enumerate(value):
            out += unknown_fields(item, schema.items, f"{path}[{n}]")
    elif schema.items is not None and isinstance(value, dict):
        for key, item in value.items():
            out += unknown_fields(item, schema.items, f"{path}.{json.dumps(key)[1:-1]}" if path else key)
    return out
