"""The Kubernetes regex library. Patterns are RE2's, run by Python's engine: look-around and references back are refused, as RE2 has neither."""

from __future__ import annotations

import functools
import re
from typing import Any

from pilothouse.api.cel.errors import CelError

_NOT_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>|\(|P=)|\\[1-9]|[*+?}]\+")
_CLASSES = {"alpha": "A-Za-z", "digit": "0-9", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\s",
            "xdigit": "0-9A-Fa-f", "word": r"\w", "punct": r"!-/:-@\[-`{-~"}  # fmt: skip


@functools.lru_cache(1024)
def pattern(text: str) -> re.Pattern[str]:
    """CelError for what is no pattern."""
    if _NOT_RE2.search(re.sub(r"\\\\", "", text)):
        raise CelError(f"error parsing regexp: invalid or unsupported Perl syntax: `{text}`")
    plain = re.sub(r"\[:(\w+):\]", lambda m: _CLASSES.get(m.group(1), m.group()), text)
    try:
        return re.compile(re.sub(r"(?<!\\)\\z", r"\\Z", plain), re.ASCII)
    except re.error as error:
        raise CelError(f"error parsing regexp: {error.msg}: `{text}`") from None


def find(text: str, expression: str) -> str:
    found = pattern(expression).search(text)
    return found.group() if found else ""


def find_all(text: str, expression: str, limit: int = -1) -> list[str]:
    found = [m.group() for m in pattern(expression).finditer(text)]
    return found if limit < 0 else found[:limit]


def matches(text: str, expression: str) -> bool:
    return pattern(expression).search(text) is not None


FUNCTIONS: list[tuple[str, Any]] = [
    ("string.matches(string) -> bool", matches),
    ("matches(string, string) -> bool", matches),
    ("string.find(string) -> string", find),
    ("string.findAll(string) -> list(string)", find_all),
    ("string.findAll(string, int) -> list(string)", find_all),
]
