"""Routes as rules of a data plane: each match one rule, with the filters, backends and limits of the route's rule that it comes from.

Reference: API reference, HTTPRoute, GRPCRoute and TLSRoute; GEP-2257 (durations), GEP-1742 (time-outs), GEP-1731 (retries, which the standard
channel does not have yet: they are understood where the experimental definitions are installed). A rule that is not valid is left out; where
none is left, the route is not accepted. Session persistence is left out: a rule that wants it is not valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pilothouse.cloud.gateway.attachment import age
from pilothouse.cloud.gateway.backends import Backends
from pilothouse.cloud.gateway.conditions import Told, no, yes
from pilothouse.cloud.gateway.durations import seconds
from pilothouse.cloud.gateway.filters import Invalid, check_together, filters_of
from pilothouse.cloud.gateway.matches import Order, grpc_match, http_match
from pilothouse.dataplane.model import Filters, Match, Retry, Rule, Share

Obj = dict[str, Any]

#: A pool that nobody is told of, so that it is empty: what a gRPC client is to hear, UNAVAILABLE, is a 503 and not a 500.
NOBODY = "grpc-unavailable"
_RESOLVED = yes("ResolvedRefs")
#: How often a request is tried again where a route wants that and does not say how often.
_ATTEMPTS = 1


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule and its place among those of the same hostname: the more specific match, the older route, the earlier rule."""

    place: tuple[Any, ...]
    rule: Rule


@dataclass(slots=True)
class Translated:
    """A route's rules and what is to be said of it, wherever it is attached. `refused` is why it cannot be accepted at all."""

    rules: list[Placed] = field(default_factory=list)
    #: Of a TLSRoute: where its connections go.
    shares: tuple[Share, ...] = ()
    resolved: Told = _RESOLVED
    refused: Told | None = None
    partial: Told | None = None


def translate(route: Obj, kind: str, backends: Backends) -> Translated:
    out = Translated()
    problems: list[Told] = []
    if kind == "TLSRoute":
        refs = [ref for rule in route["spec"].get("rules") or () for ref in rule.get("backendRefs") or ()]
        out.shares = tuple(_share(ref, route, kind, backends, Filters(), problems) for ref in refs)
    else:
        _translate_rules(route, kind, backends, out, problems)
    if problems:
        out.resolved = replace(problems[0], message="; ".join(dict.fromkeys(p.message for p in problems)))
    return out


def _translate_rules(route: Obj, kind: str, backends: Backends, out: Translated, problems: list[Told]) -> None:
    rules = route["spec"].get("rules") or ()
    dropped: list[tuple[int, Invalid]] = []
    for index, rule in enumerate(rules):
        try:
            out.rules += _rule(route, kind, index, rule, backends, problems)
        except Invalid as error:
            dropped.append((index, error))
    if not dropped:
        return
    reason = dropped[0][1].reason
    told = "; ".join(f"rule {index}: {error}" for index, error in dropped)
    if len(dropped) == len(rules):
        out.refused = no("Accepted", reason, told)
    else:
        out.partial = yes("PartiallyInvalid", reason, f"Dropped Rule(s): {told}")


def _rule(route: Obj, kind: str, index: int, rule: Obj, backends: Backends, problems: list[Told]) -> list[Placed]:
    meta = route["metadata"]
    if rule.get("sessionPersistence"):
        raise Invalid("UnsupportedValue", "sessionPersistence is not supported")
    matches = _matches(rule, kind)
    limits = _limits(rule)
    own: list[Told] = []
    filters, wrong = filters_of(rule.get("filters") or (), backends, kind, meta["namespace"])
    check_together(filters)
    shares = tuple(_share(ref, route, kind, backends, filters, own) for ref in rule.get("backendRefs") or ())
    if kind == "GRPCRoute":
        shares = tuple(share if share.pool else replace(share, pool=NOBODY) for share in shares) or (Share(NOBODY),)
    problems += wrong + own
    origin = f"{kind}/{meta['namespace']}/{meta['name']}#{rule.get('name') or index}"
    return [
        Placed((*order, *age(route), index, number), Rule(match, shares, filters, origin=origin, **limits))
        for number, (match, order) in enumerate(matches)
    ]


def _matches(rule: Obj, kind: str) -> list[tuple[Match, Order]]:
    wanted: Iterable[Obj] = rule.get("matches") or ({},)
    return [grpc_match(each) if kind == "GRPCRoute" else http_match(each) for each in wanted]


def _share(ref: Obj, route: Obj, kind: str, backends: Backends, of_rule: Filters, problems: list[Told]) -> Share:
    namespace = route["metadata"]["namespace"]
    pool, problem = backends.resolve(ref, kind, namespace)
    filters = None
    if ref.get("filters"):
        filters, wrong = filters_of(ref["filters"], backends, kind, namespace)
        check_together(of_rule, filters)
        problems += wrong
    problems += [problem] if problem else []
    return Share(pool, ref.get("weight", 1), filters)


def _limits(rule: Obj) -> Obj:
    timeouts, retry = rule.get("timeouts") or {}, rule.get("retry")
    try:
        return {
            "request_timeout": seconds(timeouts.get("request") or "0s"),
            "backend_timeout": seconds(timeouts.get("backendRequest") or "0s"),
            "retry": None if retry is None else _retry(retry),
        }
    except ValueError as error:
        raise Invalid("UnsupportedValue", str(error)) from None


def _retry(retry: Obj) -> Retry | None:
    attempts = retry.get("attempts", _ATTEMPTS)
    return Retry(attempts, tuple(retry.get("codes") or ()), seconds(retry.get("backoff") or "0s")) if attempts else None


def at_port(rule: Rule, port: int, is_tls: bool) -> Rule:
    """The rule at a listener: a redirect that names neither scheme nor port leads back to the listener's port.

    The port that a scheme has anyway is not told (API reference: HTTPRequestRedirectFilter.port).
    """
    redirect = rule.filters.redirect
    if redirect is None or redirect.scheme or redirect.port is not None or port == (443 if is_tls else 80):
        return rule
    return replace(rule, filters=replace(rule.filters, redirect=replace(redirect, port=port)))
