"""Text for HAProxy's configuration that says what is meant and nothing else.

A configuration is lines of words. Whatever a user may have written (header values, paths, patterns) passes through here, and comes out as one
word: in single quotes, in which HAProxy reads everything as it is, with a line never ended early. What cannot stand in a line at all, control
characters, is refused. (docs.haproxy.org, configuration manual, section 2.2 "Quoting and escaping".)
"""

from __future__ import annotations

import hashlib
import re

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOSTNAME = re.compile(r"(\*\.)?[0-9A-Za-z]([0-9A-Za-z_-]*[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z_-]*[0-9A-Za-z])?)*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def word(text: str) -> str:
    """One word of a line, whatever is in it."""
    if _CONTROL.search(text):
        raise ValueError(f"a control character in {text!r}")
    return "'" + text.replace("'", "'\\''") + "'"


def literal(text: str) -> str:
    """For a place where HAProxy reads a log format: the text itself (not yet a word)."""
    return text.replace("%", "%%")


def argument(text: str) -> str:
    """For a place between a fetch's parentheses: the text itself (not yet a word)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    return name


def hostname(name: str) -> str:
    """A name in lower case, `*.` and a suffix, or "" (also for `*`)."""
    name = "" if name == "*" else name.rstrip(".")
    if name and not _HOSTNAME.fullmatch(name):
        raise ValueError(f"not a hostname: {name!r}")
    return name.lower()


def identifier(prefix: str, *parts: object) -> str:
    """A name for a section, the same for the same parts."""
    return f"{prefix}{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def milliseconds(seconds: float) -> str:
    """HAProxy counts in 32 bits; what is longer than 24 days, or has no limit, is 24 days."""
    return f"{min(max(1, round(seconds * 1000)), 24 * 86400 * 1000)}ms" if seconds > 0 else "24d"
