"""The Kubernetes URL library: absolute URLs and absolute paths."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from pilothouse.api.cel.errors import CelError


class Url:
    """A parsed URL."""

    __slots__ = ("parts",)
    cel_type = "kubernetes.URL"

    def __init__(self, parts: urllib.parse.SplitResult) -> None:
        self.parts = parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    @property
    def host(self) -> str:
        return self.parts.netloc.rpartition("@")[2]

    @property
    def hostname(self) -> str:
        if self.host.startswith("["):
            return self.host[1 : self.host.find("]")]
        return self.host.partition(":")[0]

    @property
    def port(self) -> str:
        return self.host.rpartition("]")[2].partition(":")[2]


def url(text: str) -> Url:
    """CelError for what is neither an absolute URL nor an absolute path."""
    why = "invalid URI for request"
    if text.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", text):
        try:
            parts = urllib.parse.urlsplit(text)
            if not re.search(r"[\x00-\x1f\x7f]|%(?![0-9a-fA-F]{2})", text) and " " not in parts.netloc:
                _ = parts.port  # refuses what is no number
                return Url(parts)
        except ValueError as error:
            why = str(error)
    raise CelError(f'URL parse error during conversion from string: parse "{text}": {why}')


def is_url(text: str) -> bool:
    try:
        url(text)
    except CelError:
        return False
    return True


FUNCTIONS: list[tuple[str, Any]] = [
    ("url(string) -> kubernetes.URL", url),
    ("isURL(string) -> bool", is_url),
    ("(kubernetes.URL).getScheme() -> string", lambda u: u.parts.scheme),
    ("(kubernetes.URL).getHost() -> string", lambda u: u.host),
    ("(kubernetes.URL).getHostname() -> string", lambda u: u.hostname),
    ("(kubernetes.URL).getPort() -> string", lambda u: u.port),
    ("(kubernetes.URL).getEscapedPath() -> string", lambda u: urllib.parse.quote(u.parts.path, safe="/%:@!$&'()*+,;=~")),
    ("(kubernetes.URL).getQuery() -> map(string, list(string))",
     lambda u: urllib.parse.parse_qs(u.parts.query, keep_blank_values=True)),
]  # fmt: skip
