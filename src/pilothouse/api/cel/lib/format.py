"""Formatting of strings (extension `strings`), and the Kubernetes library of named formats."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

from pilothouse.api import names
from pilothouse.api.cel.errors import CelError
from pilothouse.api.cel.lib.conversions import to_string
from pilothouse.api.cel.values import NONE, Optional, type_name

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?(.?))", re.DOTALL)
_INTEGERS = ("int", "uint")
#: Of each clause: what it takes, and how that is said.
_CLAUSES: dict[str, tuple[tuple[str, ...], str]] = {
    "s": (
        ("string", "bool", "bytes", "int", "uint", "double", "map", "list", "type", "null_type", "duration", "timestamp"),
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
    ),
    "d": (_INTEGERS, "decimal clause can only be used on integers"),
    "f": (("double",), "fixed-point clause can only be used on doubles"),
    "e": (("double",), "scientific clause can only be used on doubles"),
    "b": ((*_INTEGERS, "bool"), "only integers and bools can be formatted as binary"),
    "x": ((*_INTEGERS, "string", "bytes"), "only integers, byte buffers, and strings can be formatted as hex"),
    "X": ((*_INTEGERS, "string", "bytes"), "only integers, byte buffers, and strings can be formatted as hex"),
    "o": (_INTEGERS, "octal clause can only be used on integers"),
}
_NAMES = {"google.protobuf.Duration": "duration", "google.protobuf.Timestamp": "timestamp", "null": "null_type"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _takes(clause: str, kind: str) -> str:
    """What is wrong with a value of a type in a clause; "" if nothing is."""
    if clause not in _CLAUSES:
        return f'could not parse formatting clause: unrecognized formatting clause "{clause}"'
    kinds, told = _CLAUSES[clause]
    name = _NAMES.get(kind, kind)
    return "" if name in kinds else f"{told}, was given {name}"


def problems(text: str, kinds: list[str]) -> list[tuple[int | None, str]]:
    """What is wrong with a format that is written out, given the types of its arguments: which argument (None: the format), and why."""
    clauses = [found.group(3) for found in _CLAUSE.finditer(text) if not found.group(1)]
    if len(clauses) > len(kinds):
        return [(None, f"index {len(kinds)} out of range")]
    if len(clauses) < len(kinds):
        return [(None, f"too many arguments supplied to string.format (expected {len(clauses)}, got {len(kinds)})")]
    told = [
        (n, "" if kind == "dyn" else _takes(clause, kind)) for n, (clause, kind) in enumerate(zip(clauses, kinds, strict=True))
    ]
    return [(n, f"error during formatting: {why}") for n, why in told if why]


def format_text(text: str, args: list[Any]) -> str:
    """`"%s is %d".format(["a", 1])`; clauses are s d f e x X o b."""
    rest = iter(args)

    def fill(found: re.Match[str]) -> str:
        if found.group(1):
            return "%"
        try:
            value = next(rest)
        except StopIteration:
            raise CelError(f"index {len(args)} out of range") from None
        return _clause(found.group(3), int(found.group(2) or 6), value)

    return _CLAUSE.sub(fill, text)


def _clause(kind: str, digits: int, value: Any) -> str:
    wrong = "" if kind == "s" and hasattr(value, "cel_type") else _takes(kind, type_name(value))
    if wrong:
        raise CelError(f"error during formatting: {wrong}")
    if kind == "s":
        return _shown(value)
    if kind == "d":
        return to_string(value)
    if kind == "f":
        return f"{value:.{digits}f}"
    if kind == "e":
        return _scientific(value, digits)
    if isinstance(value, (str, bytes)):
        shown = (value.encode() if isinstance(value, str) else value).hex()
        return shown.upper() if kind == "X" else shown
    return f"{int(value):{kind}}"


def _scientific(value: float, digits: int) -> str:
    """A power of ten, written out: `1.052033\u202f×\u202f10⁰³`."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}\u202f×\u202f10{exponent.removeprefix('+').translate(_RAISED)}" if exponent else mantissa


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(k)}: {_shown(value[k])}" for k in sorted(value, key=str)) + "}"
    return value.name if hasattr(value, "cel_type") and hasattr(value, "name") else to_string(value)


class Format:
    """A named format: `format.dns1123Label().validate(text)` gives what is wrong, or nothing."""

    __slots__ = ("name", "problems")
    cel_type = "kubernetes.NamedFormat"

    def __init__(self, name: str, problems: Callable[[str], list[str]]) -> None:
        self.name = name
        self.problems = problems

    def validate(self, text: str) -> Optional:
        found = self.problems(text)
        return Optional(True, found) if found else NONE


def _tries(what: str, parse: Callable[[str], Any]) -> Callable[[str], list[str]]:
    def run(text: str) -> list[str]:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return [f"invalid {what}"]
        return []

    return run


def _uri(text: str) -> None:
    if not (text.startswith("/") or re.match("[A-Za-z][A-Za-z0-9+.-]*:", text)):
        raise ValueError
    urllib.parse.urlsplit(text)


_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "labelValue": names.label_value,
    "dns1123LabelPrefix": lambda text: names.dns1123_label(text, True),
    "dns1123SubdomainPrefix": lambda text: names.dns1123_subdomain(text, True),
    "dns1035LabelPrefix": lambda text: names.dns1035_label(text, True),
    "uri": _tries("URI", _uri),
    "uuid": _tries("UUID", uuid.UUID),
    "byte": _tries("base64", lambda text: base64.b64decode(text, validate=True)),
    "date": _tries("date", datetime.date.fromisoformat),
    "datetime": _tries("datetime", datetime.datetime.fromisoformat),
}
_ALL = {name: Format(name, problems) for name, problems in _FORMATS.items()}


def _named(name: str) -> Optional:
    return Optional(True, _ALL[name]) if name in _ALL else NONE


FUNCTIONS: list[tuple[str, Any]] = [
    ("string.format(list(dyn)) -> string", format_text),
    *[(f"format::{name}() -> kubernetes.NamedFormat", lambda found=found: found) for name, found in _ALL.items()],
    ("format::named(string) -> optional(kubernetes.NamedFormat)", _named),
    ("(kubernetes.NamedFormat).validate(string) -> optional(list(string))", Format.validate),
]
