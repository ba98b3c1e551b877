"""Filters of routes and backends, as a data plane has them (API reference: HTTPRouteFilter, GRPCRouteFilter).

Left out: ExtensionRef and ExternalAuth. A rule that asks for one of them is not valid; its requests must not pass as if it had not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.cloud.gateway.backends import Backends
from pilothouse.cloud.gateway.conditions import Told
from pilothouse.dataplane.model import Cors, Filters, Headers, Mirror, PathChange, Redirect, Rewrite

Obj = dict[str, Any]


class Invalid(ValueError):
    """A rule that cannot be carried out. `reason` is that of the Accepted or PartiallyInvalid condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def filters_of(filters: Iterable[Obj], backends: Backends, kind: str, namespace: str) -> tuple[Filters, list[Told]]:
    """What a list of filters means, and what is wrong with the references in it. Invalid for one that is not supported."""
    made: Obj = {}
    mirrors: list[Mirror] = []
    problems: list[Told] = []
    for each in filters:
        match each["type"]:
            case "RequestHeaderModifier":
                made["request"] = _headers(each["requestHeaderModifier"])
            case "ResponseHeaderModifier":
                made["response"] = _headers(each["responseHeaderModifier"])
            case "RequestRedirect":
                made["redirect"] = _redirect(each["requestRedirect"])
            case "URLRewrite":
                made["rewrite"] = Rewrite(each["urlRewrite"].get("hostname") or "", _path(each["urlRewrite"].get("path")))
            case "CORS":
                made["cors"] = _cors(each["cors"])
            case "RequestMirror":
                pool, problem = backends.resolve(each["requestMirror"]["backendRef"], kind, namespace)
                problems += [problem] if problem else []
                mirrors += [_mirror(pool, each["requestMirror"])] if pool else []
            case other:
                raise Invalid("UnsupportedValue", f"filter {other} is not supported")
    return Filters(**made, mirrors=tuple(mirrors)), problems


def check_together(rule: Filters, backend: Filters | None = None) -> None:
    """Invalid where one request would be both redirected and rewritten."""
    redirect = rule.redirect or (backend and backend.redirect)
    rewrite = rule.rewrite or (backend and backend.rewrite)
    if redirect and rewrite:
        raise Invalid("IncompatibleFilters", "RequestRedirect and URLRewrite cannot be used together")


def _headers(filter: Obj) -> Headers:
    pairs = {part: tuple((h["name"], h["value"]) for h in _first(filter.get(part) or ())) for part in ("set", "add")}
    return Headers(pairs["set"], pairs["add"], tuple(filter.get("remove") or ()))


def _first(named: Iterable[Obj]) -> list[Obj]:
    """Names are compared without case; of equal ones the first counts."""
    found: dict[str, Obj] = {}
    for each in named:
        found.setdefault(each["name"].lower(), each)
    return list(found.values())


def _redirect(filter: Obj) -> Redirect:
    return Redirect(
        status=filter.get("statusCode") or 302,
        scheme=filter.get("scheme") or "",
        hostname=filter.get("hostname") or "",
        port=filter.get("port"),
        path=_path(filter.get("path")),
    )


def _path(change: Obj | None) -> PathChange | None:
    if change is None:
        return None
    if change["type"] == "ReplaceFullPath":
        return PathChange("full", change.get("replaceFullPath") or "")
    if change["type"] == "ReplacePrefixMatch":
        return PathChange("prefix", change.get("replacePrefixMatch") or "")
    raise Invalid("UnsupportedValue", f"path modifier {change['type']} is not supported")


def _cors(filter: Obj) -> Cors:
    return Cors(
        origins=tuple(filter.get("allowOrigins") or ()),
        methods=tuple(filter.get("allowMethods") or ()),
        headers=tuple(filter.get("allowHeaders") or ()),
        expose=tuple(filter.get("exposeHeaders") or ()),
        credentials=bool(filter.get("allowCredentials")),
        max_age=filter.get("maxAge", 5),
    )


def _mirror(pool: str, filter: Obj) -> Mirror:
    if (fraction := filter.get("fraction")) is not None:
        return Mirror(pool, fraction["numerator"], fraction.get("denominator") or 100)
    return Mirror(pool, filter.get("percent", 100))
