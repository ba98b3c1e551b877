"""JSON and YAML texts as plain values, and what is to be said about keys that a text gives twice.

JSON is orjson's; a text that it refuses is read again as leniently as the reference server reads (invalid UTF-8 and lone surrogates
become U+FFFD). YAML is yamltext's.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from pilothouse.api.errors import StatusError, bad_request

_SHOWN = 30


class _Unreadable(ValueError):
    """A text that is neither."""


def parse(body: bytes, media: str, kind: str) -> tuple[Any, list[str]]:
    """A text as plain values, with what is to be said about duplicate keys in it. 400 when it cannot be read."""
    try:
        if media == "yaml":
            return _parse_yaml(body)
        parsed = _parse_json(body)
    except _Unreadable as e:
        raise unrecognized(kind, str(e), body) from None
    repeated = _read_again(body, parsed)
    if repeated is None:
        return parsed, []
    return _merged(repeated), [f'duplicate field "{path}"' for path in dict.fromkeys(_repeated(repeated, ""))]


def unrecognized(kind: str, problem: str, body: bytes | None = None) -> StatusError:
    """The 400 for a text that is no object at all."""
    beginning = "" if body is None else f" ({shown(body)})"
    told = f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {problem}{beginning}"
    return bad_request(told)


def shown(body: bytes) -> str:
    """The beginning of a body, as text where it looks like an object."""
    if not body:
        return "<empty>"
    text = body[:_SHOWN].decode(errors="replace") if body[:1] == b"{" else body[:_SHOWN].hex()
    return text if len(body) <= _SHOWN else text + " ..."


# --- JSON ------------------------------------------------------------------------------------------------------------------------------


def _parse_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as e:
        if not body.strip() or "unexpected end" in str(e):
            raise _Unreadable("unexpected end of JSON input") from None
        problem = str(e)
    try:
        return _without_surrogates(json.loads(body.decode(errors="replace"), parse_constant=_refuse))
    except (ValueError, RecursionError):
        raise _Unreadable(problem) from None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(v) for v in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


class _Pairs(list):
    """An object's members as read, duplicates included."""


def duplicate_fields(body: bytes, parsed: Any) -> list[str]:
    """Paths of keys that a JSON text gives twice."""
    read = _read_again(body, parsed)
    return [] if read is None else list(dict.fromkeys(_repeated(read, "")))


def _read_again(body: bytes, parsed: Any) -> Any:
    """A JSON text with its duplicate keys still in it; None when it has none.

    A text without duplicates has as many quotation marks as its content written anew (white space has none); only a text with more, or
    with escapes that could hide some, is read a second time.
    """
    try:
        if b"\\u" not in body and body.count(b'"') <= orjson.dumps(parsed).count(b'"'):
            return None
    except TypeError:
        pass  # an integer that is too large for a second encoding
    try:
        read = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None
    return read if _repeated(read, "") else None


def _merged(value: Any) -> Any:
    """Values as the reference server has them: the second object of one name is read into the first, anything else replaces it."""
    if isinstance(value, _Pairs):
        out: dict[str, Any] = {}
        for key, item in value:
            new = _merged(item)
            before = out.get(key)
            out[key] = _into(before, new) if isinstance(before, dict) and isinstance(new, dict) else new
        return out
    return [_merged(v) for v in value] if isinstance(value, list) else value


def _into(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = dict(first)
    for key, item in second.items():
        before = both.get(key)
        both[key] = _into(before, item) if isinstance(before, dict) and isinstance(item, dict) else item
    return both


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


# --- YAML ------------------------------------------------------------------------------------------------------------------------------


def _parse_yaml(body: bytes) -> tuple[Any, list[str]]:
    from pilothouse.api import yamltext  # PyYAML costs time and memory that a server without YAML clients can spare

    try:
        return yamltext.load(body)
    except yamltext.YamlError as e:
        raise _Unreadable(str(e)) from None
