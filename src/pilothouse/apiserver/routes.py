"""What a URL asks for: the syntactic half of routing, before anybody knows whether the resource exists.

Follows the reference server's request info: `/api/v1/...` and `/apis/<group>/<version>/...` name resources, everything else is
a path. The verb comes from the method, the presence of a name, and `?watch`. The deprecated `/watch/` prefix is understood.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

from pilothouse.api.errors import StatusError, bad_request

Query = dict[str, list[str]]

_ITEM_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
#: Subresources below which any path may follow.
_WITH_TAIL = ("proxy",)
EMPTY: Query = {}


@dataclass(slots=True)
class Route:
    """One request, understood. For a path that names no resource, `resource` is empty."""

    method: str
    path: str
    query: Query = field(default_factory=dict)
    verb: str = ""
    prefix: str = ""  # "api" or "apis" for everything below these
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    tail: str = ""  # what follows a proxy subresource
    #: Not the path of any endpoint: more or fewer parts than a resource has.
    malformed: bool = False
    watch_path: bool = False

    def first(self, key: str, default: str = "") -> str:
        """A query parameter's first value."""
        values = self.query.get(key)
        return values[0] if values else default

    def flag(self, key: str) -> bool:
        """A boolean parameter as the reference server reads it: anything but false and 0 is true, absent is false."""
        values = self.query.get(key)
        return values is not None and values[0].lower() not in ("false", "0")


def parse(method: str, target: str) -> Route:
    """Split a request target. ValueError if its escapes are broken."""
    path, _, query = target.partition("?")
    if path.startswith(("http://", "https://")):
        path = "/" + path.partition("://")[2].partition("/")[2]
    if "%" in path:
        _check_escapes(path)
        path = unquote(path)
    route = Route(method, path, parse_query(query) if query else {})
    if path.startswith("/api"):
        _resource(route, path.split("/"))
    if not route.verb:
        route.verb = method.lower()
    return route


def _check_escapes(path: str) -> None:
    for piece in path.split("%")[1:]:
        int(piece[:2] if len(piece) >= 2 else "x", 16)


def parse_query(text: str) -> Query:
    """`a=1&b=2&a=3` as lists of values by name."""
    out: Query = {}
    escaped = "%" in text or "+" in text
    for part in text.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        if escaped:
            key, value = unquote_plus(key), unquote_plus(value)
        out.setdefault(key, []).append(value)
    return out


def _resource(route: Route, parts: list[str]) -> None:
    """Fill in the resource's coordinates, where the path has any. `parts[0]` is empty: the path begins with a slash."""
    if parts[-1] == "" and len(parts) > 2:
        parts.pop()
    if parts[1] == "api":
        rest = parts[3:]
        version, group = parts[2] if len(parts) > 2 else "", ""
    elif parts[1] == "apis":
        rest = parts[4:]
        group, version = parts[2] if len(parts) > 2 else "", parts[3] if len(parts) > 3 else ""
    else:
        return
    route.prefix, route.group, route.version = parts[1], group, version
    if not rest:
        return
    if "" in rest:
        route.malformed = True
    if rest[0] == "watch" and len(rest) > 1:
        route.watch_path = True
        rest = rest[1:]
    _coordinates(route, rest)
    _verb(route)


def _coordinates(route: Route, rest: list[str]) -> None:
    if rest[0] == "namespaces" and len(rest) > 1:
        route.namespace = rest[1]
        if len(rest) == 2 or rest[2] in _NAMESPACE_SUBRESOURCES:
            route.resource, route.name = "namespaces", rest[1]
            route.subresource = "/".join(rest[2:])
            return
        rest = rest[2:]
    route.resource = rest[0]
    if len(rest) > 1:
        route.name = rest[1]
    if len(rest) > 2:
        route.subresource = rest[2]
    if len(rest) > 3:
        route.tail = "/" + "/".join(rest[3:])
        if rest[2] not in _WITH_TAIL:
            route.malformed = True


def _verb(route: Route) -> None:
    verb = _ITEM_VERBS.get(route.method, "")
    if not route.name:
        if verb == "get":
            verb = "watch" if route.watch_path or route.flag("watch") else "list"
        elif verb == "delete":
            verb = "deletecollection"
    elif route.watch_path and verb == "get":
        verb = "watch"
    route.verb = verb or route.method.lower()


def single_name(route: Route) -> str:
    """The name that a list or watch is limited to by `fieldSelector=metadata.name=<name>`, for the authorizers."""
    selector = route.first("fieldSelector")
    if not selector.startswith("metadata.name=") or "," in selector:
        return ""
    return selector[len("metadata.name=") :].removeprefix("=")


_SUFFIXES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_go_duration(text: str) -> float:
    """A duration such as 30s, 1m30s or 500ms, in seconds. ValueError if it is none."""
    if text in ("0", "+0", "-0"):
        return 0.0
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    total = 0.0
    while rest or total == 0.0:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit_length = len(rest[digits:]) - len(rest[digits:].lstrip("nuµmsh"))
        unit = rest[digits : digits + unit_length]
        if not digits or unit not in _SUFFIXES:
            raise ValueError(text)
        total += float(rest[:digits]) * _SUFFIXES[unit]
        rest = rest[digits + unit_length :]
        if not rest:
            break
    return sign * total


def timeout_of(route: Route) -> float | None:
    """The client's `?timeout=`, in seconds. 400 if it is no duration."""
    text = route.first("timeout")
    if not text:
        return None
    try:
        return parse_go_duration(text)
    except ValueError:
        raise bad_request(f'invalid timeout specified in the request URL - time: invalid duration "{text}"') from None


def parse_int(text: str) -> int:
    """A signed 64-bit number of a query. 400, in the reference's words, if it is none."""
    body = text.removeprefix("-").removeprefix("+") if text[:2] not in ("-+", "+-") else ""
    if not body.isascii() or not body.isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def parse_revision(text: str) -> int:
    """A resource version. ValueError with the reference's words if it is none; "" is 0."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    value = int(text)
    if value >= 2**64:
        raise ValueError(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": value out of range')
    return value


def unknown_path() -> StatusError:
    """404 for a path below a known group that names nothing."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


class MethodNotAllowed(StatusError):
    """405; `allowed` are the methods that the path has (the Allow header of RFC 9110)."""

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})
        self.allowed = ", ".join(sorted(allowed))


def not_supported(route: Route) -> StatusError:
    """405 as custom resources have it: it names the verb and the resource."""
    of = f"{route.resource}.{route.group}"
    details = {"group": route.group, "kind": route.resource}
    return StatusError(405, "MethodNotAllowed", f'{route.verb} is not supported on resources of kind "{of}"', details)
