"""Kubernetes' protobuf encoding, read into the same dicts as JSON; protobuf_write.py is the way back.

The envelope is `k8s\\0` and a runtime.Unknown with the object's kind and bytes. Message types come from a generated table; the kind's
schema says which fields the JSON form has: a message field that it does not have is an embedded struct, whose members belong to the parent.
Fields are called alike in both forms but for their case and signs (`webhooks` and `Webhooks`, `x-kubernetes-list-type` and `xKubernetesListType`).
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import re
import struct
from pathlib import Path
from typing import Any

import orjson

from pilothouse.api.schema import Schema

MAGIC = b"k8s\x00"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"
_VARINTS = {"int32", "int64", "bool"}

Message = dict[int, tuple[str, str]]


class ProtobufError(ValueError):
    """The bytes are no message of the expected type."""


@functools.cache
def _table() -> dict[str, dict[str, list[Any]]]:
    table: dict[str, dict[str, list[Any]]] = orjson.loads((Path(__file__).parent / "_generated_protobuf.json").read_bytes())
    return table


@functools.cache
def _message(name: str) -> Message:
    try:
        return {number: (field, kind) for field, (number, kind) in _table()[name].items()}
    except KeyError:
        raise ProtobufError(f"no message type {name}") from None


def plain_name(field: str) -> str:
    """What a field's names in the two forms have in common."""
    return re.sub("[^a-z0-9]", "", field.lower())


@functools.cache
def _json_names(message: str, definition: str, schema: Schema) -> dict[str, str]:
    """The fields of a message by the names that the JSON form has for them."""
    known = {plain_name(field): field for field in schema.fields}
    return {field: known[plain] for field in _table()[message] if (plain := plain_name(field)) in known}


def _wire(kind: str) -> int:
    """The wire type of a field that is not packed."""
    one = kind.removesuffix("[]")
    return 0 if one in _VARINTS else 1 if one == "double" else 2


def message_name(definition: str) -> str:
    """io.k8s.api.core.v1.Pod -> k8s.io.api.core.v1.Pod"""
    return "k8s.io." + definition.removeprefix("io.k8s.").replace("-", "_")


def read(body: bytes, schema: Schema) -> dict[str, Any]:
    """A request body as the dict that its JSON form would have given. ProtobufError if it is none."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = _read(body[4:], _UNKNOWN, None)
        raw = base64.b64decode(envelope.get("raw", ""))
        obj = _read(raw, message_name(schema.name), schema)
    except ProtobufError:
        raise
    except (
        IndexError,
        struct.error,
        ValueError,
        OverflowError,
        OSError,
        RecursionError,
    ) as e:  # cut off, no text, no JSON, no time
        raise ProtobufError(f"truncated or malformed message: {e}") from None
    meta = envelope.get("typeMeta") or {}
    return {**{k: v for k, v in meta.items() if v}, **obj}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ProtobufError("a number is too long")


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    """(number, wire type, value) of each field as it stands."""
    out: list[tuple[int, int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
            if len(value) != size:
                raise ProtobufError("a field is cut off")
        elif wire == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif wire == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            raise ProtobufError(f"unknown wire type {wire}")
        out.append((number, wire, value))
    return out


def _read(data: bytes, name: str, schema: Schema | None) -> dict[str, Any]:
    message = _message(name)
    names = _json_names(name, schema.name, schema) if schema is not None else {}
    out: dict[str, Any] = {}
    for number, wire, value in _fields(data):
        known = message.get(number)
        if known is None:
            continue
        field, kind = known
        if wire != _wire(kind) and not (wire == 2 and kind[:-2] in _VARINTS):
            raise ProtobufError(f"wrong wireType = {wire} for field {field}")
        field = names.get(field, field)
        own = schema.fields.get(field) if schema is not None else None
        if kind.endswith("[]"):
            items = own.items if own is not None else None
            out.setdefault(field, []).extend(_packed(value, wire, kind[:-2], items))
        elif kind.startswith("map<"):
            items = own.items if own is not None else None
            key, item = _entry(value, kind[4:-1].partition(",")[2], items)
            out.setdefault(field, {})[key] = item
        elif own is None and schema is not None and "." in kind:
            out.update(_read(value, kind, schema))
        else:
            out[field] = _value(value, kind, own)
    return out


def _packed(value: Any, wire: int, kind: str, schema: Schema | None) -> list[Any]:
    if kind in _VARINTS and wire == 2:
        out, at = [], 0
        while at < len(value):
            number, at = _varint(value, at)
            out.append(_number(number, kind))
        return out
    return [_value(value, kind, schema)]


def _entry(data: bytes, kind: str, schema: Schema | None) -> tuple[str, Any]:
    key, item = "", _value(b"", kind, schema)
    for number, wire, value in _fields(data):
        if wire != (2 if number == 1 else _wire(kind)):
            raise ProtobufError(f"wrong wireType = {wire} in a map")
        if number == 1:
            key = value.decode()
        elif number == 2:
            item = _value(value, kind, schema)
    return key, item


def _number(value: int, kind: str) -> Any:
    if kind == "bool":
        return bool(value)
    return value - 2**64 if value >= 2**63 else value


def _value(value: Any, kind: str, schema: Schema | None) -> Any:
    if kind == "string":
        return value.decode()
    if kind in _VARINTS:
        return _number(value, kind) if isinstance(value, int) else 0
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind == "double":
        return value
    return _object(value, kind, schema)


def _object(value: bytes, kind: str, schema: Schema | None) -> Any:
    short = kind.rpartition(".")[2]
    if kind in (_META + "Time", _META + "MicroTime"):
        return _time(_read(value, kind, None), micro=short == "MicroTime")
    if short == "Quantity":
        return _read(value, kind, None).get("string", "0")
    if short == "IntOrString":
        found = _read(value, kind, None)
        return found.get("strVal", "") if found.get("type") else found.get("intVal", 0)
    if short in ("FieldsV1", "RawExtension", "JSON"):
        raw = _read(value, kind, None)
        text = base64.b64decode(raw.get("Raw") or raw.get("raw") or "")
        return orjson.loads(text) if text else None
    if short in ("ExtraValue", "Verbs"):
        return _read(value, kind, None).get("items", [])
    if short.startswith("JSONSchemaPropsOr"):
        return _union(_read(value, kind, None), value, kind, schema)
    if kind == _META + "Duration":
        return f"{_read(value, kind, None).get('duration', 0) / 1e9:g}s"
    return _read(value, kind, schema)


def _union(found: dict[str, Any], value: bytes, kind: str, schema: Schema | None) -> Any:
    """A JSON schema, or what may stand in its place: a boolean, a list of schemas, a list of names."""
    message = _table()[kind]
    for number, _, part in _fields(value):
        for field, (own, inner) in message.items():
            if own == number and field == "schema":
                return _read(part, inner, _schema_props())
    if "jSONSchemas" in message:
        number, inner = message["jSONSchemas"]
        return [_read(part, inner[:-2], _schema_props()) for n, _, part in _fields(value) if n == number]
    return found.get("property", []) if "property" in message else bool(found.get("allows", False))


def _schema_props() -> Schema:
    from pilothouse.api import tables

    return tables.schema_of("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")


def _time(parts: dict[str, Any], micro: bool) -> str | None:
    seconds = parts.get("seconds")
    if seconds is None or seconds < -62_000_000_000:
        return None
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC) + dt.timedelta(microseconds=parts.get("nanos", 0) // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
