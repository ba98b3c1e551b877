"""From bytes to an object: one pass that checks structure, prunes what the kind does not know, and writes values as the reference server
would write them back (canonical quantities and times, no nulls, no zero values that it leaves out).

The fast path knows no paths: only when something is unknown or wrong does a second, slower walk say where. Duplicate keys are looked for
only when the text has more quotation marks than its content.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

import orjson

from pilothouse.api import quantity, tables
from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.api.schema import Schema
from pilothouse.api.times import canonical_micro_time, canonical_time

Decoder = Callable[[Any, "Findings"], Any]

_INT32 = 2**31
_INT64 = 2**63
_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number", type(None): "null"}


class Mismatch(ValueError):
    """A value of the wrong kind. `path` is filled in from the inside out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []

    def text(self) -> str:
        where = ".".join(reversed(self.path))
        message = str(self)
        return message.replace("{}", where) if "{}" in message else message


class Findings:
    """What one decoding noticed: whether any field was unknown (where, is asked later)."""

    __slots__ = ("unknown",)

    def __init__(self) -> None:
        self.unknown = False


def normalize(value: Any, schema: Schema, findings: Findings | None = None) -> Any:
    """A fresh value in the reference server's form. Raises Mismatch."""
    return decoder(schema)(value, findings or Findings())


def decoder(schema: Schema) -> Decoder:
    """The compiled decoder of a node; made once."""
    made = schema.compiled
    if made is None:
        made = schema.compiled = _MAKERS.get(schema.type, _make_any)(schema)
    found: Decoder = made
    return found


def zero_of(schema: Schema) -> Any:
    """What an always-written field holds when nobody set it."""
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


def _go_type(schema: Schema) -> str:
    return {"integer": schema.format or "int", "number": "float64", "boolean": "bool"}.get(schema.type, schema.type)


def _wrong(value: Any, schema: Schema) -> Mismatch:
    return Mismatch(
        f"json: cannot unmarshal {_JSON_TYPES.get(type(value), 'value')} into Go struct field {{}} of type {_go_type(schema)}"
    )


def _make_object(schema: Schema) -> Decoder:
    fields = schema.fields
    plan: dict[str, tuple[Decoder | None, Schema, bool]] = {}
    for name, sub in fields.items():
        plan[name] = (None, sub, _drops_empty(sub))
    always = [(name, sub) for name, sub in fields.items() if sub.always]
    decoders: dict[str, Decoder] = {}

    def decode_object(value: Any, findings: Findings) -> Any:
        if value is None:
            value = {}
        if type(value) is not dict:
            raise _wrong(value, schema)
        out: Obj = {}
        for key, item in value.items():
            entry = plan.get(key)
            if entry is None:
                findings.unknown = True
                continue
            if item is None:
                continue
            decode = decoders.get(key)
            if decode is None:
                decode = decoders[key] = decoder(entry[1])
            try:
                item = decode(item, findings)
            except Mismatch as e:
                e.path.append(key)
                raise
            if entry[2] and not item:
                continue
            out[key] = item
        for name, sub in always:
            if name not in out:
                out[name] = zero_of(sub)
        return out

    return decode_object


def _drops_empty(sub: Schema) -> bool:
    """Whether an empty value is the same as none."""
    if sub.always or sub.keep_zero:
        return False
    return sub.type in ("string", "integer", "number", "boolean", "list", "map", "bytes", "time", "microtime")


def _make_map(schema: Schema) -> Decoder:
    items = schema.items
    assert items is not None
    inner = decoder(items)

    def decode_map(value: Any, findings: Findings) -> Any:
        if type(value) is not dict:
            raise _wrong(value, schema)
        out = {}
        for key, item in value.items():
            try:
                out[key] = zero_of(items) if item is None else inner(item, findings)
            except Mismatch as e:
                e.path.append(key)
                raise
        return out

    return decode_map


def _make_list(schema: Schema) -> Decoder:
    items = schema.items
    assert items is not None
    made: list[Decoder] = []

    def decode_list(value: Any, findings: Findings) -> Any:
        if type(value) is not list:
            raise _wrong(value, schema)
        if not made:
            made.append(decoder(items))
        inner = made[0]
        return [zero_of(items) if item is None else inner(item, findings) for item in value]

    return decode_list


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


def _make_bytes(schema: Schema) -> Decoder:
    def decode_bytes(value: Any, findings: Findings) -> Any:
        if type(value) is not str:
            raise _wrong(value, schema)
        try:
            raw = base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            raise Mismatch("illegal base64 data at input byte 0") from None
        return base64.b64encode(raw).decode()

    return decode_bytes


def _make_time(schema: Schema) -> Decoder:
    def decode_time(value: Any, findings: Findings) -> Any:
        if type(value) is not str:
            raise _wrong(value, schema)
        try:
            return canonical_time(value)
        except ValueError:
            raise Mismatch(
                f'parsing time {json.dumps(value)} as "2006-01-02T15:04:05Z07:00": cannot parse {json.dumps(value)} as "2006"'
            ) from None

    return decode_time


def _make_micro_time(schema: Schema) -> Decoder:
    def decode_micro_time(value: Any, findings: Findings) -> Any:
        if type(value) is not str:
            raise _wrong(value, schema)
        try:
            return canonical_micro_time(value)
        except ValueError:
            text = json.dumps(value)
            raise Mismatch(f'parsing time {text} as "2006-01-02T15:04:05.000000Z07:00": cannot parse {text} as "2006"') from None

    return decode_micro_time


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
        if type(value) is not int:
            raise _wrong(value, schema)
        if not -_INT32 <= value < _INT32:
            raise Mismatch(f"json: cannot unmarshal number {value} into Go struct field {{}} of type int32")
        return value

    return decode_int_or_string


def _make_any(schema: Schema) -> Decoder:
    return lambda value, findings: value


_MAKERS: dict[str, Callable[[Schema], Decoder]] = {
    "object": _make_object, "map": _make_map, "list": _make_list, "string": _make_string, "integer": _make_integer,
    "number": _make_number, "boolean": _make_boolean, "bytes": _make_bytes, "time": _make_time, "microtime": _make_micro_time,
    "quantity": _make_quantity, "intorstring": _make_int_or_string, "duration": _make_string, "any": _make_any,
}  # fmt: skip


# --- where the unknown fields are ------------------------------------------------------------------------------------------------


def unknown_fields(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Paths of the fields that the schema does not know, e.g. spec.containers[0].foo, in the order of the text."""
    out: list[str] = []
    if schema.type == "object" and isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            sub = schema.fields.get(key)
            out += [where] if sub is None else unknown_fields(item, sub, where)
    elif schema.items is not None and isinstance(value, list):
        for n, item in enumerate(value):
            out += unknown_fields(item, schema.items, f"{path}[{n}]")
    elif schema.items is not None and isinstance(value, dict):
        for key, item in value.items():
            out += unknown_fields(item, schema.items, f"{path}.{key}" if path else key)
    return out


# --- duplicates ------------------------------------------------------------------------------------------------------------------


class _Pairs(list):
    """An object's members as read, duplicates included."""


def duplicate_fields(body: bytes, parsed: Any) -> list[str]:
    """Paths of keys that a JSON text gives twice.

    A text without duplicates has as many quotation marks as its content written anew (white space has none); only a text with more, or
    with escapes that could hide some, is read a second time.
    """
    if b"\\u" not in body and body.count(b'"') <= orjson.dumps(parsed).count(b'"'):
        return []
    try:
        read = json.loads(body, object_pairs_hook=_Pairs)
    except ValueError:
        return []
    return list(dict.fromkeys(_repeated(read, "")))


def _repeated(value: Any, path: str) -> list[str]:
    out: list[str] = []
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            where = f"{path}.{key}" if path else key
            if key in seen:
                out.append(where)
            seen.add(key)
            out += _repeated(item, where)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            out += _repeated(item, f"{path}[{n}]")
    return out


# --- the whole way -----------------------------------------------------------------------------------------------------------------


def parse(body: bytes, media: str, kind: str) -> tuple[Any, list[str]]:
    """JSON or YAML text as plain values, and what is to be said about duplicate keys in it. 400 when it cannot be read."""
    if media == "yaml":
        return _parse_yaml(body, kind)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        problem = "unexpected end of JSON input" if not body.strip() or "unexpected end" in str(e) else str(e)
        shown = body.hex() if body and not body.isascii() else (body[:200].decode(errors="replace") or "<empty>")
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {problem} ({shown})"
        ) from None
    return parsed, [f'duplicate field "{path}"' for path in duplicate_fields(body, parsed)]


def _parse_yaml(body: bytes, kind: str) -> tuple[Any, list[str]]:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in Loader.yaml_implicit_resolvers.items()
    }
    repeated: list[str] = []

    def mapping(loader: Any, node: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            key = key if isinstance(key, str) else json.dumps(key)
            if key in out:
                repeated.append(f'line {value_node.start_mark.line + 1}: key "{key}" already set in map')
            out[key] = loader.construct_object(value_node, deep=True)
        return out

    def number(loader: Any, node: Any) -> float | int:
        value: float = loader.construct_yaml_float(node)
        return int(value) if value.is_integer() else value

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    Loader.add_constructor("tag:yaml.org,2002:float", number)
    try:
        return yaml.load(body, Loader), repeated
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        first = str(e).replace("\n", " ")
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {first}"
        ) from None


def decode(
    body: bytes, media: str, schema: Schema, gvk: tuple[str, str, str], field_validation: str = "Warn"
) -> tuple[Obj, list[str]]:
    """A request body as an object of the expected kind, with texts for Warning headers. 400 for everything that does not fit.

    `media` is json or yaml, `gvk` the kind that the endpoint takes (used where the body does not say), `field_validation` one of
    Strict, Warn, Ignore.
    """
    if media == "protobuf":
        return decode_parsed(_parse_protobuf(body, schema, gvk[2]), [], schema, gvk, "Ignore")
    parsed, problems = parse(body, media, gvk[2])
    return decode_parsed(parsed, problems, schema, gvk, field_validation)


def _parse_protobuf(body: bytes, schema: Schema, kind: str) -> Obj:
    from pilothouse.api import protobuf

    try:
        return protobuf.read(body, schema)
    except protobuf.ProtobufError as e:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {e}") from None


def decode_parsed(
    parsed: Any, problems: list[str], schema: Schema, gvk: tuple[str, str, str], field_validation: str = "Warn"
) -> tuple[Obj, list[str]]:
    """The same for values that were parsed already (results of patches), with what reading them found."""
    group, version, kind = gvk
    if parsed is None:
        parsed = {}
    if type(parsed) is not dict:
        problem = f"json: cannot unmarshal {_JSON_TYPES.get(type(parsed), 'value')} into Go value of type struct with apiVersion and kind"
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {problem}"
        )
    api_version = f"{group}/{version}" if group else version
    check_kind(parsed, gvk)
    findings = Findings()
    try:
        obj: Obj = decoder(schema)(parsed, findings)
    except Mismatch as e:
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {e.text()}') from None
    if findings.unknown:
        problems = problems + [f'unknown field "{p}"' for p in unknown_fields(parsed, schema)]
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    obj = {"kind": kind, "apiVersion": api_version, **obj}
    if problems and field_validation == "Strict":
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {", ".join(problems)}'
        )
    return obj, problems if field_validation == "Warn" else []


def check_kind(parsed: Obj, gvk: tuple[str, str, str]) -> None:
    """Refuse a body that says it is something else."""
    group, version, kind = gvk
    said_kind, said_version = parsed.get("kind") or kind, parsed.get("apiVersion") or (f"{group}/{version}" if group else version)
    if not isinstance(said_kind, str) or not isinstance(said_version, str):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: "
            "json: cannot unmarshal kind and apiVersion into strings"
        )
    said_group, _, bare = said_version.rpartition("/")
    if (said_group, bare, said_kind) == gvk:
        return
    raise wrong_kind(said_group, bare, said_kind, gvk)


def wrong_kind(said_group: str, said_version: str, said_kind: str, gvk: tuple[str, str, str]) -> StatusError:
    """The 400 for a body of another kind."""
    _, version, kind = gvk
    full = f"{said_group}/{said_version}" if said_group else said_version
    known = tables.is_known_kind(said_group, said_version, said_kind)
    if known and said_kind == kind and (said_group, said_version) != gvk[:2]:
        expected = f"{gvk[0]}/{version}" if gvk[0] else version
        return bad_request(f"the API version in the data ({full}) does not match the expected API version ({expected})")
    if not known:
        why = f'no kind "{said_kind}" is registered for version "{full}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    else:
        why = f"converting ({said_version}.{said_kind}) to ({gvk[0].partition('.')[0] or 'core'}.{kind}): unknown conversion"
    return bad_request(f'{said_kind} in version "{said_version}" cannot be handled as a {kind}: {why}')
