"""The Kubernetes regex library, and `matches` of the language itself. Patterns are RE2's (regexes.py)."""

from __future__ import annotations

import itertools
from typing import Any

from pilothouse.api import regexes
from pilothouse.api.cel.errors import CelError


def pattern(text: str) -> regexes.Pattern:
    """CelError for what is no pattern."""
    try:
        return regexes.compiled(text)
    except regexes.RegexError as error:
        raise CelError(f"error parsing regexp: {error}") from None


def find(text: str, expression: str) -> str:
    return pattern(expression).find(text) or ""


def find_all(text: str, expression: str, limit: int = -1) -> list[str]:
    found = pattern(expression).find_all(text)
    return list(found if limit < 0 else itertools.islice(found, limit))


def matches(text: str, expression: str) -> bool:
    return pattern(expression).matches(text)


FUNCTIONS: list[tuple[str, Any]] = [
    ("string.matches(string) -> bool", matches),
    ("matches(string, string) -> bool", matches),
    ("string.find(string) -> string", find),
    ("string.findAll(string) -> list(string)", find_all),
    ("string.findAll(string, int) -> list(string)", find_all),
]
