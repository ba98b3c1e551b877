"""Regular expressions of users: RE2's syntax, which is Go's, in time that grows with the text and nothing else.

Python's own engine would read most of the same patterns, but a pattern such as `(a+)+$` can hold it for as long as somebody likes. RE2
is loaded when the first pattern comes by. Errors are worded as Kubernetes words them, with the part of the pattern that is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any


class RegexError(ValueError):
    """A text that is no pattern; the message ends in the part that is wrong."""


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_compiled",)

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def matches(self, text: str) -> bool:
        """Whether it is anywhere in the text."""
        return self._compiled.search(text) is not None

    def find(self, text: str) -> str | None:
        """The first, leftmost match."""
        found = self._compiled.search(text)
        return None if found is None else str(found.group())

    def find_all(self, text: str) -> Iterator[str]:
        """All matches that do not overlap; an empty one right after another is none."""
        end = -1
        for found in self._compiled.finditer(text):
            start, stop = found.span()
            if stop > start or start != end:
                yield str(found.group())
            end = stop


@functools.lru_cache(maxsize=4096)
def compiled(pattern: str) -> Pattern:
    """The pattern; RegexError for what is none."""
    import re2

    _check_what_only_go_refuses(pattern)
    try:
        return Pattern(re2.compile(pattern, _options()))
    except re2.error as error:
        [told] = error.args
        raise RegexError(_worded(told.decode(errors="replace") if isinstance(told, bytes) else str(told))) from None
    except UnicodeEncodeError:
        raise RegexError(f"invalid UTF-8: `{pattern!r}`") from None


@functools.cache
def _options() -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    return options


def _check_what_only_go_refuses(pattern: str) -> None:
    if "\\C" in pattern.replace("\\\\", ""):
        raise RegexError("invalid escape sequence: `\\C`")


#: How RE2 begins an error, and how Go does.
_WORDS = (
    ("missing ]", "missing closing ]"),
    ("missing )", "missing closing )"),
    ("no argument for repetition operator", "missing argument to repetition operator"),
    ("bad repetition operator", "invalid nested repetition operator"),
    ("invalid repetition size", "invalid repeat count"),
    ("invalid perl operator", "invalid or unsupported Perl syntax"),
    ("invalid named capture group", "invalid named capture"),
    ("trailing \\", "trailing backslash at end of expression"),
    ("pattern too large", "expression too large"),
)


def _worded(told: str) -> str:
    problem, _, part = told.partition(": ")
    for theirs, ours in _WORDS:
        if problem.startswith(theirs):
            problem = ours
            break
    return f"{problem}: `{part}`"
