"""What filters do to a request or an answer, as functions over headers and paths. No I/O.

Headers are lists of (name, value) in bytes, names in lower case. The meaning is the Gateway API's (HTTPRoute filters) and, for CORS, that
of fetch.spec.whatwg.org.
"""

from __future__ import annotations

from pilothouse.dataplane.model import Cors, Match, PathChange, Redirect
from pilothouse.dataplane.model import Headers as Changes

Headers = list[tuple[bytes, bytes]]

_PORTS = {b"http": b"80", b"https": b"443"}
_CORS_ANSWER = b"access-control-"


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def value_of(headers: Headers, name: bytes) -> bytes | None:
    """All values of a header as one; None if it is not there."""
    found = [value for known, value in headers if known == name]
    if not found:
        return None
    return found[0] if len(found) == 1 else b", ".join(found)


def _line(value: str) -> bytes:
    """A header's value. ValueError for one that would end its line."""
    if any(sign in value for sign in "\r\n\0"):
        raise ValueError(f"a control character in {value!r}")
    return encoded(value)


class Change:
    """Changes of headers, ready to be applied: set, then add, then remove."""

    __slots__ = ("_add", "_remove", "_replaced", "_set")

    def __init__(self, changes: Changes) -> None:
        self._set = [(encoded(name).lower(), _line(value)) for name, value in changes.set]
        self._replaced = frozenset(name for name, _ in self._set)
        self._add = [(encoded(name).lower(), _line(value)) for name, value in changes.add]
        self._remove = frozenset(encoded(name).lower() for name in changes.remove)

    def apply(self, headers: Headers) -> Headers:
        if self._replaced:
            headers = [pair for pair in headers if pair[0] not in self._replaced] + self._set
        if self._add:
            headers = headers + self._add
        if self._remove:
            headers = [pair for pair in headers if pair[0] not in self._remove]
        return headers


def change_path(change: PathChange, path: bytes, match: Match) -> bytes:
    """Another path for a request that `match` took. A prefix gives way to another without doubling or losing a slash."""
    value = encoded(change.value)
    if change.kind == "full":
        return value if value.startswith(b"/") else b"/" + value
    if match.path_type == "RegularExpression":
        return path
    prefix = encoded(match.path).rstrip(b"/")
    return (value.rstrip(b"/") + path[len(prefix) :]) or b"/"


def location(redirect: Redirect, scheme: bytes, authority: bytes, path: bytes, query: bytes, match: Match) -> bytes:
    """Where a redirect leads. `query` has its question mark. A scheme's own port is left out."""
    host, port = split_authority(authority)
    if redirect.port is not None:
        port = b"%d" % redirect.port
    elif redirect.scheme:
        port = b""
    scheme = encoded(redirect.scheme) or scheme
    host = encoded(redirect.hostname) or host
    if redirect.path is not None:
        path = change_path(redirect.path, path, match)
    where = b":" + port if port and port != _PORTS.get(scheme) else b""
    return b"".join((scheme, b"://", host, where, path, query))


def split_authority(authority: bytes) -> tuple[bytes, bytes]:
    """Host and port ("" if there is none) of `host:port`; an IPv6 address stays in its brackets."""
    if authority.startswith(b"["):
        host, bracket, rest = authority.partition(b"]")
        return host + bracket, rest[1:]
    host, _, port = authority.partition(b":")
    return host, port


def hostname(authority: bytes) -> bytes:
    """The name that chooses among sites and hosts: lower case, no port, no final dot."""
    return split_authority(authority)[0].lower().rstrip(b".")


class CorsPolicy:
    """Which origins may read what."""

    __slots__ = ("_any", "_credentials", "_exact", "_expose", "_headers", "_max_age", "_methods", "_wild")

    def __init__(self, cors: Cors) -> None:
        origins = [encoded(origin).lower() for origin in cors.origins]
        self._any = b"*" in origins
        self._exact = frozenset(origins)
        self._wild = [tuple(origin.split(b"*", 1)) for origin in origins if b"*" in origin and origin != b"*"]
        self._methods = [encoded(method) for method in cors.methods]
        self._headers = [encoded(name) for name in cors.headers]
        self._expose = b", ".join(encoded(name) for name in cors.expose)
        self._credentials = cors.credentials
        self._max_age = b"%d" % cors.max_age

    def is_preflight(self, method: bytes, headers: Headers) -> bool:
        if method != b"OPTIONS":
            return False
        names = {name for name, _ in headers}
        return b"origin" in names and b"access-control-request-method" in names

    def preflight(self, headers: Headers) -> Headers:
        """The headers of the answer to a question that comes before the request; none if the origin may not ask."""
        answer = self._origin(headers)
        if not answer:
            return []
        asked_method = value_of(headers, b"access-control-request-method") or b""
        asked_headers = value_of(headers, b"access-control-request-headers")
        methods = self._granted(self._methods, asked_method)
        if methods:
            answer.append((b"access-control-allow-methods", methods))
        names = self._granted(self._headers, asked_headers or b"")
        if names:
            answer.append((b"access-control-allow-headers", names))
        answer.append((b"access-control-max-age", self._max_age))
        return answer

    def _granted(self, allowed: list[bytes], asked: bytes) -> bytes:
        """A list of what is allowed. Browsers take `*` literally where credentials are sent, so what was asked for stands in for it."""
        if b"*" not in allowed:
            return b", ".join(allowed)
        return asked if self._credentials else b"*"

    def answer(self, request: Headers, response: Headers) -> Headers:
        """An answer's headers with what the policy says in place of what the backend said."""
        ours = self._origin(request)
        if not ours:
            return response
        if self._expose:
            ours.append((b"access-control-expose-headers", self._expose))
        return [pair for pair in response if not pair[0].startswith(_CORS_ANSWER)] + ours

    def _origin(self, request: Headers) -> Headers:
        origin = value_of(request, b"origin")
        if origin is None or not self._allows(origin.lower()):
            return []
        if self._any and not self._credentials:
            return [(b"access-control-allow-origin", b"*")]
        answer = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if self._credentials:
            answer.append((b"access-control-allow-credentials", b"true"))
        return answer

    def _allows(self, origin: bytes) -> bool:
        if self._any or origin in self._exact:
            return True
        return any(
            origin.startswith(before) and origin.endswith(after) and len(origin) > len(before) + len(after)
            for before, after in self._wild
        )
