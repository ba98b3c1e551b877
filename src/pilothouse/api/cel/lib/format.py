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
from pilothouse.api.cel.values import NONE, Optional, Uint

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?([sdfexXob]))")


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
        return _clause(found.group(3), found.group(2), value)

    return _CLAUSE.sub(fill, text)


def _clause(kind: str, digits: str | None, value: Any) -> str:
    if kind == "s":
        return _shown(value)
    number = isinstance(value, (int, Uint, float)) and not isinstance(value, bool)
    if kind in "fe" and number:
        return f"{float(value):.{digits or 6}{kind}}"
    if kind == "d" and number:
        return to_string(value)
    if kind in "xX" and isinstance(value, (str, bytes)):
        shown = (value.encode() if isinstance(value, str) else value).hex()
        return shown.upper() if kind == "X" else shown
    if kind in "xXob" and isinstance(value, int):
        return f"{int(value):{kind}}"
    raise CelError(f"error during formatting: no formatting clause %{kind} for this type")


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
