"""The filters of a rule as lines of the section that carries it out: changes of headers, rewrites, redirects, cross-origin answers.

Order, as the Gateway API's implementations have it: a preflight is answered first, then a redirect; what goes on has its headers and
path changed. A share's filters come after its rule's. Variables of the request that the front has set (`txn.name`: the host without its
port) are read here.
"""

from __future__ import annotations

import re

from pilothouse.dataplane.haproxy.text import header_name, literal, word
from pilothouse.dataplane.model import Cors, Filters, Headers, Match, PathChange, Redirect, Rewrite

_WELL_KNOWN = {"http": 80, "https": 443}
#: The request's query with its question mark, or nothing.
_QUERY = "%[pathq,regsub(^[^?]*,)]"
_OPTIONS = "{ method -m str -- OPTIONS } { req.fhdr(origin) -m found } { req.fhdr(access-control-request-method) -m found }"


def lines(rule: Filters, share: Filters, match: Match, tls: bool) -> list[str]:
    """Of a rule and a share of it; mirrors are not among them."""
    policy, moved, written = rule.cors or share.cors, rule.redirect or share.redirect, share.rewrite or rule.rewrite
    made = cors(policy) if policy else []
    answers = [change for change in (share.response, rule.response) if change]
    if moved:
        made += [line for change in answers for line in headers("http-after-response", change)]
        return [*made, redirect(moved, match, tls)]
    if written:
        made += rewrite(written, match)
    made += [line for change in (rule.request, share.request) if change for line in headers("http-request", change)]
    return made + [line for change in answers for line in headers("http-response", change)]


def headers(when: str, change: Headers) -> list[str]:
    made = [f"{when} set-header {header_name(name)} {word(literal(value))}" for name, value in change.set]
    made += [f"{when} add-header {header_name(name)} {word(literal(value))}" for name, value in change.add]
    return made + [f"{when} del-header {header_name(name)}" for name in change.remove]


def rewrite(change: Rewrite, match: Match) -> list[str]:
    made = []
    if change.path and change.path.kind == "full":
        made.append(f"http-request set-path {word(_absolute(change.path))}")
    elif change.path and match.path_type != "RegularExpression":
        made.append(f"http-request set-pathq {word(_prefixed(change.path, match))}")
    if change.hostname:
        made.append(f"http-request set-header Host {word(literal(change.hostname))}")
    return made


def redirect(change: Redirect, match: Match, tls: bool) -> str:
    if change.path and change.path.kind == "full":
        target = _absolute(change.path) + _QUERY
    elif change.path and match.path_type != "RegularExpression":
        target = _prefixed(change.path, match)
    else:
        target = "%[pathq]"
    return f"http-request return status {change.status} hdr Location {word(_authority(change, tls) + target)}"


def _authority(change: Redirect, tls: bool) -> str:
    scheme = change.scheme or ("https" if tls else "http")
    host = literal(change.hostname) or "%[var(txn.name)]"
    if change.port is not None:
        port = "" if _WELL_KNOWN.get(scheme) == change.port else f":{change.port}"
    else:
        port = "" if change.scheme else _port(_WELL_KNOWN[scheme])
    return f"{literal(scheme)}://{host}{port}"


def _port(usual: int) -> str:
    """The request's port with its colon, unless it is the usual one."""
    return rf"%[req.hdr(host),regsub('^(\[[^]]*\]|[^:]*)(:{usual}$)?',)]"


def _absolute(change: PathChange) -> str:
    return literal(change.value if change.value.startswith("/") else f"/{change.value}")


def _prefixed(change: PathChange, match: Match) -> str:
    """The path and query with another prefix; what is left of it begins with a slash in any case."""
    rest = f"pathq,bytes({len(match.path.rstrip('/').encode())})"
    value = change.value.rstrip("/")
    return literal(value) + (f"%[{rest}]" if value else rf"%[{rest},regsub('^([?]|$)','/\1')]")


def cors(policy: Cors) -> list[str]:
    """Answers to preflights, and the headers by which a browser lets a page read the answer in place of what a backend says of that."""
    seen = "{ var(txn.origin) -m found }"
    shared = [("Access-Control-Allow-Origin", "%[var(txn.origin)]")]
    if policy.credentials or "*" not in policy.origins:
        shared.append(("Vary", "Origin"))
    if policy.credentials:
        shared.append(("Access-Control-Allow-Credentials", "true"))
    preflight = [
        ("Access-Control-Allow-Methods", _list(policy.methods, policy.credentials, "access-control-request-method")),
        ("Access-Control-Allow-Headers", _list(policy.headers, policy.credentials, "access-control-request-headers")),
        ("Access-Control-Max-Age", str(policy.max_age)),
    ]
    exposed = [("Access-Control-Expose-Headers", literal(", ".join(policy.expose)))] if policy.expose else []
    answer = " ".join(f"hdr {name} {word(value)}" for name, value in preflight if value)
    return [
        *_allowed(policy),
        f"http-request set-var(txn.preflight) bool(true) if {_OPTIONS}",
        f"http-request return status 204 {answer} if {seen} {{ var(txn.preflight) -m found }}",
        "http-request return status 204 if { var(txn.preflight) -m found }",
        f"http-response del-header access-control- -m beg if {seen}",
        *(f"http-after-response {_verb(name)} {name} {word(value)} if {seen}" for name, value in shared),
        *(f"http-response set-header {name} {word(value)} if {seen}" for name, value in exposed),
    ]


def _verb(name: str) -> str:
    return "add-header" if name == "Vary" else "set-header"


def _allowed(policy: Cors) -> list[str]:
    """Sets `txn.origin` to what is answered, where the origin may read."""
    made = []
    for origin in policy.origins:
        if origin == "*":
            answer = "req.fhdr(origin)" if policy.credentials else "str(*)"
            return [f"http-request set-var(txn.origin) {answer} if {{ req.fhdr(origin) -m found }}"]
        pattern = re.escape(origin.lower()).replace(r"\*", r"[^/]+", 1)
        made.append(
            f"http-request set-var(txn.origin) req.fhdr(origin) if {{ req.fhdr(origin),lower -m reg -- {word(f'^{pattern}$')} }}"
        )
    return made


def _list(allowed: tuple[str, ...], credentials: bool, asked: str) -> str:
    """What is allowed, or for `*` what was asked for: with credentials a browser takes the star for a name."""
    if "*" not in allowed:
        return literal(", ".join(allowed))
    return f"%[req.fhdr({asked})]" if credentials else "*"
