"""The string formats that custom resources can ask for. A format that is not known here is not checked.

The list is that of the documentation of CustomResourceDefinitions ("Validation", supported formats).
"""

from __future__ import annotations

import binascii
import datetime
import functools
import ipaddress
import re
import urllib.parse
from base64 import b64decode
from collections.abc import Callable

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_UNITS = (
    r"(ns|us|µs|ms|s|m|h|d|w|nanoseconds?|microseconds?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?|sec|min|hr|day|week)"
)
_PATTERNS = {
    "bsonobjectid": r"[0-9a-fA-F]{24}",
    "creditcard": r"(?:4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:2131|1800|35\d{3})\d{11})",
    "datetime": r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    "email": r"[^@\s<>,;]+@[^@\s<>,;]+",
    "hexcolor": r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})",
    "hostname": r"(?=.{1,255}$)([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*\.?",
    "k8s-long-name": rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*",
    "k8s-short-name": rf"(?=.{{1,63}}$){_LABEL}",
    "mac": r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){0,2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}",
    "rgbcolor": r"rgb\(\s*(\d{1,3}%?)\s*,\s*(\d{1,3}%?)\s*,\s*(\d{1,3}%?)\s*\)",
    "ssn": r"\d{3}[- ]?\d{2}[- ]?\d{4}",
    "uuid": r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
    "uuid3": r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?3[0-9a-fA-F]{3}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
    "uuid4": r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?4[0-9a-fA-F]{3}-?[89abAB][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}",
    "uuid5": r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?5[0-9a-fA-F]{3}-?[89abAB][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}",
    "duration": rf"[+-]?(\d+(\.\d*)?\s*{_UNITS}\s*)+|0",
}


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _uri(text: str) -> None:
    parts = urllib.parse.urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(text)


def _isbn(text: str, sizes: tuple[int, ...]) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if len(digits) == 10 and 10 in sizes and re.fullmatch(r"\d{9}[\dX]", digits):
        return sum((10 - n) * (10 if c == "X" else int(c)) for n, c in enumerate(digits)) % 11 == 0
    if len(digits) == 13 and 13 in sizes and digits.isdigit():
        return sum((3 if n % 2 else 1) * int(c) for n, c in enumerate(digits)) % 10 == 0
    return False


_CHECKS: dict[str, Callable[[str], bool]] = {
    "byte": _parses(lambda text: b64decode(text or "=", validate=True)),
    "cidr": _parses(lambda text: ("/" in text and ipaddress.ip_interface(text)) or ipaddress.ip_address("")),
    "date": _parses(lambda text: datetime.datetime.strptime(text, "%Y-%m-%d")),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "isbn": lambda text: _isbn(text, (10, 13)),
    "isbn10": lambda text: _isbn(text, (10,)),
    "isbn13": lambda text: _isbn(text, (13,)),
    "uri": _parses(_uri),
}


@functools.cache
def check_of(name: str) -> Callable[[str], bool] | None:
    """The test of a format; None for formats that are not checked."""
    name = {"date-time": "datetime"}.get(name, name)
    pattern = _PATTERNS.get(name)
    if pattern is None:
        return _CHECKS.get(name)
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None
