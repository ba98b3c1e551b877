"""The strings extension in its version 2, which is the one that Kubernetes has: positions count characters."""

from __future__ import annotations

from typing import Any

from pilothouse.api.cel.errors import CelError

_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_DOWN, _UP = str.maketrans(_UPPER, _LOWER), str.maketrans(_LOWER, _UPPER)
_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'}


def char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise CelError(f"index out of range: {at}")
    return text[at : at + 1]


def substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    for n in (start, stop):
        if not 0 <= n <= len(text):
            raise CelError(f"index out of range: {n}")
    if start > stop:
        raise CelError(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def index_of(text: str, part: str, start: int = 0) -> int:
    if start and not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    return text.find(part, start)


def last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def split(text: str, by: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not by:
        parts = list(text)
        return parts if limit < 0 or len(parts) <= limit else [*parts[: limit - 1], "".join(parts[limit - 1 :])]
    return text.split(by, limit - 1 if limit > 0 else -1)


FUNCTIONS: list[tuple[str, Any]] = [
    ("string.charAt(int) -> string", char_at),
    ("string.contains(string) -> bool", lambda s, p: p in s),
    ("string.startsWith(string) -> bool", str.startswith),
    ("string.endsWith(string) -> bool", str.endswith),
    ("string.indexOf(string) -> int", index_of),
    ("string.indexOf(string, int) -> int", index_of),
    ("string.lastIndexOf(string) -> int", last_index_of),
    ("string.lastIndexOf(string, int) -> int", last_index_of),
    ("string.lowerAscii() -> string", lambda s: s.translate(_DOWN)),
    ("string.upperAscii() -> string", lambda s: s.translate(_UP)),
    ("string.replace(string, string) -> string", str.replace),
    ("string.replace(string, string, int) -> string", lambda s, a, b, n: s.replace(a, b, int(n))),
    ("string.split(string) -> list(string)", split),
    ("string.split(string, int) -> list(string)", split),
    ("string.substring(int) -> string", substring),
    ("string.substring(int, int) -> string", substring),
    ("string.trim() -> string", str.strip),
    ("list(string).join() -> string", "".join),
    ("list(string).join(string) -> string", lambda parts, by: by.join(parts)),
    ("strings::quote(string) -> string", lambda s: '"' + "".join(_QUOTED.get(c, c) for c in s) + '"'),
]
