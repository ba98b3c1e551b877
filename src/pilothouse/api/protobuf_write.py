"""Objects in Kubernetes' protobuf encoding: what `protobuf.read` reads.

Message types come from the same generated table. For each message a writer is compiled on first use: a closure per field, so that a pod costs some
tens of microseconds. Zero values that JSON leaves out are left out here, too, which every reader takes for the same. Lists are joined
from their items' bytes. Kinds without a message type (custom resources, Tables) cannot be written: `writable` tells.
"""

from __future__ import annotations

import base64
import functools
import re
import struct
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import orjson

from pilothouse.api import tables, times
from pilothouse.api.protobuf import _META, MAGIC, _message, _table, message_name, plain_name
from pilothouse.api.schema import Schema

Encoder = Callable[[Any], bytes]
#: So many texts of a field are remembered, if they are shorter than this.
_REMEMBERED, _SHORT = 64, 64
_UNITS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "µs": 1000, "ns": 1}


# --- whole objects ----------------------------------------------------------------------------------------------------------------


def writable(api_version: str, kind: str) -> bool:
    """Whether objects of a kind can be written."""
    return _message_of(api_version, kind) is not None


def write(obj: dict[str, Any]) -> bytes:
    """An object with its kind and apiVersion, in its envelope. KeyError for kinds that cannot be written."""
    api_version, kind = obj.get("apiVersion", ""), obj["kind"]
    return envelope(api_version, kind, content(obj, api_version, kind))


def content(obj: dict[str, Any], api_version: str, kind: str) -> bytes:
    """The message alone, without kind and apiVersion."""
    found = _message_of(api_version, kind)
    if found is None:
        raise KeyError(f"{api_version} {kind} has no protobuf form")
    return _encoder(*found)(obj)


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    """A message with its type, as it stands in bodies."""
    return b"".join((*envelope_of(api_version, kind, len(raw)), raw, _ENVELOPE_END))


def envelope_of(api_version: str, kind: str, size: int) -> tuple[bytes, ...]:
    """What comes before a message of `size` bytes; `_ENVELOPE_END` comes after it."""
    meta = _field_bytes(1, api_version.encode()) + _field_bytes(2, kind.encode())
    return MAGIC, _field_bytes(1, meta), b"\x12", varint(size)


#: contentEncoding and contentType, both empty, as the reference server writes them.
_ENVELOPE_END = b"\x1a\x00\x22\x00"


def list_parts(api_version: str, kind: str, metadata: dict[str, Any], items: Iterable[bytes]) -> list[bytes]:
    """A list from the messages of its items."""
    found = _message_of(api_version, kind)
    if found is None:
        raise KeyError(f"{api_version} {kind} has no protobuf form")
    number, inner = _table()[found[0]]["metadata"]
    tag = _tag(_table()[found[0]]["items"][0], 2)
    parts = [_field_bytes(number, _encoder(inner, None)(metadata))]
    for item in items:
        parts += (tag, varint(len(item)), item)
    size = sum(map(len, parts))
    return [*envelope_of(api_version, kind, size), *parts, _ENVELOPE_END]


def watch_frame(type: str, obj: bytes) -> bytes:
    """One event of a watch: its length in four bytes, then a WatchEvent around the object in its envelope."""
    event = _field_bytes(1, type.encode()) + _field_bytes(2, _field_bytes(1, obj))
    return struct.pack(">I", len(event)) + event


@functools.cache
def _message_of(api_version: str, kind: str) -> tuple[str, Schema | None] | None:
    """A kind's message type, and its schema where it has one."""
    group, _, version = api_version.rpartition("/")
    definition = tables.definition_name(group, version, kind)
    if definition is not None:
        name = message_name(definition)
        return (name, tables.schema_of(definition)) if name in _table() else None
    if kind.endswith("List"):
        definition = tables.definition_name(group, version, kind[:-4])
        name = message_name(definition or "") + "List"
        if name in _table():
            return name, _list_schema(tables.schema_of(definition or ""))
    name = _META + kind
    return (name, None) if group in ("", "meta.k8s.io") and name in _table() else None


def _list_schema(item: Schema) -> Schema:
    """A list's shape as far as writing needs it."""
    metadata = Schema("object", name="", fields={})
    return Schema("object", name=f"{item.name}List", fields={"metadata": metadata, "items": Schema("list", items=item)})


# --- messages -----------------------------------------------------------------------------------------------------------------------


def _encoder(name: str, schema: Schema | None) -> Encoder:
    """The writer of a message type; without a schema all fields are called as in the table."""
    return _compiled(name, schema.name if schema is not None else "", schema if schema is not None and schema.fields else None)


_writers: dict[tuple[str, str], Encoder] = {}


def _compiled(name: str, definition: str, schema: Schema | None) -> Encoder:
    key = (name, definition)
    found = _writers.get(key)
    if found is None:
        special = _SPECIAL.get(name.rpartition(".")[2])
        made: list[Encoder] = []
        _writers[key] = lambda value: made[0](value)  # types may contain themselves
        made.append(special if special is not None else _message_encoder(name, schema))
        found = _writers[key] = made[0]
    return found


def _message_encoder(name: str, schema: Schema | None) -> Encoder:
    fields, embedded = _field_writers(name, schema)
    if not embedded:
        return lambda obj: b"".join([writer(v) for k, v in obj.items() if v is not None and (writer := fields.get(k))])

    def encode(obj: dict[str, Any]) -> bytes:
        out = [writer(v) for k, v in obj.items() if v is not None and (writer := fields.get(k))]
        for tag, members, inner in embedded:
            inside = {k: v for k, v in obj.items() if k in members}
            if inside:
                raw = inner(inside)
                out.append(tag + varint(len(raw)) + raw)
        return b"".join(out)

    return encode


def _field_writers(name: str, schema: Schema | None) -> tuple[dict[str, Encoder], list[tuple[bytes, frozenset[str], Encoder]]]:
    """A message's writers by JSON name, and its embedded messages: tag, the JSON fields that belong to them, writer."""
    known = {plain_name(field): field for field in schema.fields} if schema is not None else {}
    fields: dict[str, Encoder] = {}
    embedded: list[tuple[bytes, frozenset[str], Encoder]] = []
    for number, (field, kind) in sorted(_message(name).items()):
        own = known.get(plain_name(field))
        if own is None and schema is not None and "." in kind and kind in _table():
            inner, more = _field_writers(kind, schema)
            members = frozenset(inner).union(*(m for _, m, _ in more))
            embedded.append((_tag(number, 2), members, _message_encoder(kind, schema)))
        elif own is not None or schema is None:
            fields[own or field] = _field(number, kind, schema.fields[own] if schema is not None and own is not None else None)
    return fields, embedded


def _field(number: int, kind: str, schema: Schema | None) -> Encoder:
    """A field's writer, tag and all."""
    if kind.endswith("[]"):
        one = _field(number, kind[:-2], schema.items if schema is not None else None)
        if kind.endswith(".JSON[]"):
            return lambda values: b"".join([one(v) for v in values])  # null is a value, too
        return lambda values: b"".join([one(v) for v in values if v is not None])
    if kind.startswith("map<"):
        return _map_field(number, _field(2, kind[4:-1].partition(",")[2], schema.items if schema is not None else None))
    if kind in ("bool", "int32", "int64"):
        tag = _tag(number, 0)
        return lambda value: tag + varint(int(value))
    if kind == "double":
        tag = _tag(number, 1)
        return lambda value: tag + struct.pack("<d", value)
    tag = _tag(number, 2)
    if kind == "string":
        return _string_field(tag)
    if kind == "bytes":
        return lambda value: _delimited(tag, base64.b64decode(value))
    encode = _encoder(kind, schema)
    return lambda value: _delimited(tag, encode(value))


def _string_field(tag: bytes) -> Encoder:
    """A text's writer. The same few texts are written again and again: those of each field that came first are remembered."""
    known: dict[str, bytes] = {}

    def encode(value: str) -> bytes:
        found = known.get(value)
        if found is None:
            found = _delimited(tag, value.encode())
            if len(known) < _REMEMBERED and len(value) < _SHORT:
                known[value] = found
        return found

    return encode


def _map_field(number: int, value: Encoder) -> Encoder:
    tag = _tag(number, 2)
    return lambda values: b"".join([_delimited(tag, _field_bytes(1, k.encode()) + value(v)) for k, v in values.items() if v is not None])  # fmt: skip


# --- the wire -----------------------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number as its groups of seven bits, negative ones as 64 bits."""
    if 0 <= value < 128:
        return _SMALL[value]
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes([n]) for n in range(128)]


def _tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def _delimited(tag: bytes, data: bytes) -> bytes:
    size = len(data)
    return tag + (_SMALL[size] if size < 128 else varint(size)) + data


def _field_bytes(number: int, data: bytes) -> bytes:
    """A delimited field of a number below 16."""
    return _delimited(_SMALL[number << 3 | 2], data)


# --- types whose JSON form is no object --------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _time(text: str) -> bytes:
    seconds = times.seconds(text)
    whole = int(seconds // 1)
    nanos = round((seconds - whole) * 1_000_000) * 1000
    return _number(1, whole) + (_number(2, nanos) if nanos else b"")


def _number(number: int, value: int) -> bytes:
    return _SMALL[number << 3] + varint(value)


def _int_or_string(value: int | str) -> bytes:
    return _number(1, 1) + _field_bytes(3, value.encode()) if isinstance(value, str) else _number(1, 0) + _number(2, value)


def _duration(text: str) -> bytes:
    total = sum(Decimal(amount) * _UNITS[unit] for amount, unit in re.findall(r"([0-9.]+)(h|ms|m|s|us|µs|ns)", text))
    return _number(1, int(-total if text.startswith("-") else total))


def _raw(value: Any) -> bytes:
    return _field_bytes(1, orjson.dumps(value))


def _strings(values: list[str]) -> bytes:
    return b"".join([_field_bytes(1, v.encode()) for v in values])


def _schema_or(value: Any, other: Callable[[Any], bytes], schema_field: int) -> bytes:
    if not isinstance(value, dict):
        return other(value)
    return _field_bytes(schema_field, _schema_props(value))


def _schema_props(value: dict[str, Any]) -> bytes:
    definition = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    return _encoder(message_name(definition), tables.schema_of(definition))(value)


_SPECIAL: dict[str, Encoder] = {
    "Time": _time,
    "MicroTime": _time,
    "Quantity": lambda text: _field_bytes(1, str(text).encode()),
    "IntOrString": _int_or_string,
    "Duration": _duration,
    "FieldsV1": _raw,
    "RawExtension": _raw,
    "JSON": _raw,
    "ExtraValue": _strings,
    "Verbs": _strings,
    "JSONSchemaPropsOrBool": lambda v: (
        (_number(1, 1) if isinstance(v, dict) else b"") + _schema_or(v, lambda b: _number(1, int(b)), 2)
    ),
    "JSONSchemaPropsOrArray": lambda v: _schema_or(
        v, lambda many: b"".join([_field_bytes(2, _schema_props(s)) for s in many]), 1
    ),
    "JSONSchemaPropsOrStringArray": lambda v: _schema_or(
        v, lambda many: b"".join([_field_bytes(2, s.encode()) for s in many]), 1
    ),
}
