"""The version 2 document in protobuf, the only form in which Go clients ask for it.

The message types are gnostic's `openapi.v2`; the table below has the fields that our documents use, by number. What a message type
does not know goes into its list of extensions, as YAML (of which JSON is a part).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from pilothouse.api.errors import Obj

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
#: The other spelling, which clients use.
MEDIA_TYPES = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")

Writer = Callable[[Any], bytes]


def encode(document: Obj) -> bytes:
    """A version 2 document as an openapi.v2.Document message."""
    return _message(document, _DOCUMENT, 16)


# --- the wire --------------------------------------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _delimited(number: int, body: bytes) -> bytes:
    return b"%b%b%b" % (_varint(number << 3 | 2), _varint(len(body)), body)


def _text(number: int) -> Writer:
    return lambda value: _delimited(number, value.encode())


def _texts(number: int) -> Writer:
    return lambda values: b"".join([_delimited(number, v.encode()) for v in values])


def _flag(number: int) -> Writer:
    head = _varint(number << 3)
    return lambda value: head + b"\x01" if value else b""


def _whole(number: int) -> Writer:
    head = _varint(number << 3)
    return lambda value: head + _varint(value) if value >= 0 else b""


def _inner(number: int, write: Callable[[Any], bytes]) -> Writer:
    return lambda value: _delimited(number, write(value))


def _many(number: int, write: Callable[[Any], bytes]) -> Writer:
    return lambda values: b"".join([_delimited(number, write(v)) for v in values])


def _named(number: int, write: Callable[[Any], bytes]) -> Callable[[Obj], bytes]:
    """A map, as the list of its names and values."""

    def write_all(values: Obj) -> bytes:
        return b"".join([_delimited(number, _delimited(1, k.encode()) + _delimited(2, write(v))) for k, v in values.items()])

    return write_all


def _message(value: Obj, fields: dict[str, Writer], extensions: int) -> bytes:
    """A message: known fields in their places, `x-...` among the extensions."""
    out: list[bytes] = []
    for key, item in value.items():
        write = fields.get(key)
        if write is not None:
            out.append(write(item))
        elif key.startswith("x-"):
            out.append(_delimited(extensions, _delimited(1, key.encode()) + _delimited(2, _any(item))))
    return b"".join(out)


def _any(value: Any) -> bytes:
    return _delimited(2, orjson.dumps(value))


# --- the messages ------------------------------------------------------------------------------------------------------------------------


def _schema(value: Obj) -> bytes:
    return _message(value, _SCHEMA, 31)


def _type(value: Any) -> bytes:
    return _texts(1)([value] if isinstance(value, str) else value)


def _additional(value: Any) -> bytes:
    return _flag(2)(value) if isinstance(value, bool) else _delimited(1, _schema(value))


def _operation(value: Obj) -> bytes:
    return _message(value, _OPERATION, 13)


def _path_item(value: Obj) -> bytes:
    return _message(value, _PATH_ITEM, 10)


def _parameter(value: Obj) -> bytes:
    """A parameter, inside the messages that tell its place."""
    if value["in"] == "body":
        return _delimited(1, _delimited(1, _message(value, _BODY_PARAMETER, 6)))
    place, fields, extensions = (3, _QUERY_PARAMETER, 23) if value["in"] == "query" else (4, _PATH_PARAMETER, 22)
    return _delimited(1, _delimited(2, _delimited(place, _message(value, fields, extensions))))


def _response(value: Obj) -> bytes:
    return _delimited(1, _message(value, _RESPONSE, 5))


def _security(value: Obj) -> bytes:
    return _delimited(2, _message(value, _API_KEY, 5))


def _requirement(value: Obj) -> bytes:
    return _named(1, _texts(1))(value)


_SCHEMA: dict[str, Writer] = {
    "$ref": _text(1),
    "format": _text(2),
    "title": _text(3),
    "description": _text(4),
    "default": _inner(5, _any),
    "maxLength": _whole(11),
    "minLength": _whole(12),
    "pattern": _text(13),
    "maxItems": _whole(14),
    "minItems": _whole(15),
    "uniqueItems": _flag(16),
    "maxProperties": _whole(17),
    "minProperties": _whole(18),
    "required": _texts(19),
    "enum": _many(20, _any),
    "additionalProperties": _inner(21, _additional),
    "type": _inner(22, _type),
    "items": _inner(23, lambda value: _delimited(1, _schema(value))),
    "properties": _inner(25, _named(1, _schema)),
    "example": _inner(30, _any),
}
_QUERY_PARAMETER = {
    "required": _flag(1),
    "in": _text(2),
    "description": _text(3),
    "name": _text(4),
    "type": _text(6),
    "uniqueItems": _flag(20),
}
_PATH_PARAMETER = {
    "required": _flag(1),
    "in": _text(2),
    "description": _text(3),
    "name": _text(4),
    "type": _text(5),
    "uniqueItems": _flag(19),
}
_BODY_PARAMETER = {"description": _text(1), "name": _text(2), "in": _text(3), "required": _flag(4), "schema": _inner(5, _schema)}
_RESPONSE = {"description": _text(1), "schema": _inner(2, lambda value: _delimited(1, _schema(value)))}
_OPERATION: dict[str, Writer] = {
    "tags": _texts(1),
    "description": _text(3),
    "operationId": _text(5),
    "produces": _texts(6),
    "consumes": _texts(7),
    "parameters": _many(8, _parameter),
    "responses": _inner(9, _named(1, _response)),
    "schemes": _texts(10),
}
_PATH_ITEM: dict[str, Writer] = {
    "get": _inner(2, _operation),
    "put": _inner(3, _operation),
    "post": _inner(4, _operation),
    "delete": _inner(5, _operation),
    "patch": _inner(8, _operation),
    "parameters": _many(9, _parameter),
}
_API_KEY = {"type": _text(1), "name": _text(2), "in": _text(3), "description": _text(4)}
_INFO = {"title": _text(1), "version": _text(2)}


def _requirements(values: Iterable[Obj]) -> bytes:
    return b"".join([_delimited(12, _requirement(v)) for v in values])


_DOCUMENT: dict[str, Writer] = {
    "swagger": _text(1),
    "info": _inner(2, lambda value: _message(value, _INFO, 7)),
    "paths": _inner(8, _named(2, _path_item)),
    "definitions": _inner(9, _named(1, _schema)),
    "security": _requirements,
    "securityDefinitions": _inner(13, _named(1, _security)),
}
