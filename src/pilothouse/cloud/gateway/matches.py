"""Matches of HTTPRoutes and GRPCRoutes as a data plane has them, and which of them goes before which.

Reference: API reference, HTTPRouteRule.matches and GRPCRouteRule.matches (precedence), GRPCMethodMatch. Regular expressions are those of RE2, for
the whole of a value; a path that is one goes after exact paths and before prefixes. Both is left open by the reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pilothouse.api.regexes import RegexError, compiled
from pilothouse.cloud.gateway.filters import Invalid
from pilothouse.dataplane.model import Match, Text

Obj = dict[str, Any]

_PATH_RANK = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
#: A part of a gRPC path that may be anything.
_ANY_NAME = "[^/]+"

Order = tuple[int, int, int, int, int]
"""A sort key among matches of one hostname: what comes first is asked first."""


def http_match(match: Obj) -> tuple[Match, Order]:
    """Invalid for what is not supported."""
    path: Obj = match.get("path") or {}
    kind: Any = path.get("type") or "PathPrefix"
    value: str = path.get("value") or "/"
    if kind not in _PATH_RANK:
        raise Invalid("UnsupportedValue", f"path type {kind} is not supported")
    if kind == "PathPrefix":
        value = value.rstrip("/") or "/"
    elif kind == "RegularExpression":
        _check_regex(value)
    headers, query = _texts(match.get("headers"), fold=True), _texts(match.get("queryParams"), fold=False)
    method = match.get("method") or ""
    made = Match(value, kind, method, headers, query)
    return made, (_PATH_RANK[kind], -len(value), 0 if method else 1, -len(headers), -len(query))


def grpc_match(match: Obj) -> tuple[Match, Order]:
    """Invalid for what is not supported."""
    named = match.get("method") or {}
    service, method = named.get("service") or "", named.get("method") or ""
    headers = _texts(match.get("headers"), fold=True)
    order = (0, -len(service), -len(method), -len(headers), 0)
    kind = named.get("type") or "Exact"
    if kind not in ("Exact", "RegularExpression"):
        raise Invalid("UnsupportedValue", f"method type {kind} is not supported")
    if not service and not method:
        return Match(headers=headers), order
    if kind == "Exact" and service:
        return Match(f"/{service}/{method}" if method else f"/{service}", "Exact" if method else "PathPrefix", "", headers), order
    if kind == "Exact":
        return Match(f"/{_ANY_NAME}/{re.escape(method)}", "RegularExpression", "", headers), order
    for part in (service, method):
        _check_regex(part)
    pattern = f"/(?:{service or _ANY_NAME})/(?:{method or _ANY_NAME})"
    return Match(pattern, "RegularExpression", "", headers), order


def _texts(wanted: Iterable[Obj] | None, fold: bool) -> tuple[Text, ...]:
    """Of entries with equivalent names the first counts; names of headers are compared without case."""
    found: dict[str, Text] = {}
    for each in wanted or ():
        kind = each.get("type") or "Exact"
        if kind not in ("Exact", "RegularExpression"):
            raise Invalid("UnsupportedValue", f"match type {kind} is not supported")
        if kind == "RegularExpression":
            _check_regex(each["value"])
        found.setdefault(each["name"].lower() if fold else each["name"], Text(each["name"], each["value"], kind != "Exact"))
    return tuple(found.values())


def _check_regex(pattern: str) -> None:
    try:
        compiled(pattern)
    except RegexError as error:
        raise Invalid("UnsupportedValue", f"{pattern!r} is not a regular expression: {error}") from None
