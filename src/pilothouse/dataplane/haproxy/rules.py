"""A rule's part of the configuration: the backend for each of its shares, with filters, time-outs and retries.

HAProxy's time-outs are for silence: an answer that has begun and keeps coming is not cut. Requests to be sent again are kept in one
buffer; a longer body is sent once. HAProxy does not wait between tries, and does it for few codes: where a rule asks for more, each try
comes back in by a front of its own (`_spaced`).
"""

from __future__ import annotations

from math import ceil

from pilothouse.dataplane.haproxy import filters, mirror
from pilothouse.dataplane.haproxy.sections import Sections
from pilothouse.dataplane.haproxy.text import identifier, milliseconds
from pilothouse.dataplane.model import Filters, Retry, Rule, Share

#: What HAProxy can send a request again for.
RETRIABLE = frozenset({401, 403, 404, 408, 425, 500, 501, 502, 503, 504})
CONNECTION_TRIES = 3
AGAIN = 425
#: Which tries are of one request: a header between two fronts of ours, and the backend whose table counts them.
TRY, TRIES = "X-Pilothouse-Try", "e_tries"
#: A request of another method is not sent twice when its connection breaks before an answer.
_REPEATABLE = "{ method -m str -- GET HEAD OPTIONS PUT DELETE TRACE }"
FORWARDED = (
    "http-request set-header X-Forwarded-For '%[req.fhdr(x-forwarded-for)], %[src]' if { req.fhdr(x-forwarded-for) -m found }",
    "http-request set-header X-Forwarded-For %[src] unless { req.fhdr(x-forwarded-for) -m found }",
    "http-request set-header X-Forwarded-Host %[req.hdr(host)]",
    "http-request del-header Keep-Alive",
    "http-request del-header Proxy-Connection",
    "http-request del-header TE unless { req.hdr(te) -m sub trailers }",
    # what Connection names besides is rare enough for a script
    "http-request lua.hop if { req.hdr(connection) -m found } !{ req.fhdr(connection) -m str -i close keep-alive upgrade }",
    # or it would ask backends to keep the connection, and some then forget that such an answer ends with it
    "http-request set-header Connection close if HTTP_1.0",
)


def target(rule: Rule, sections: Sections, tls: bool) -> tuple[str, list[str]]:
    """What decides for a rule: the value for `txn.to`, and lines for after all decisions."""
    shares = [share for share in rule.shares if share.weight > 0] or [Share("")]
    return sections.split([(_backend(rule, share, sections, tls), share.weight) for share in shares], "http-request")


def _backend(rule: Rule, share: Share, sections: Sections, tls: bool) -> str:
    own = share.filters or Filters()
    made = filters.lines(rule.filters, own, rule.match, tls)
    if rule.filters.redirect or own.redirect:
        return sections.backend("r_", made)
    if not share.pool:
        return sections.backend("x_", [*made, "http-request return status 500"])
    forwarded = [*FORWARDED, f"http-request set-header X-Forwarded-Proto {'https' if tls else 'http'}"]
    made = [*forwarded, *made, *mirror.lines(rule.filters.mirrors + own.mirrors, sections)]
    retry = rule.retry
    if retry and retry.attempts and (retry.backoff or set(retry.codes) - RETRIABLE):
        return _spaced(rule, retry, share.pool, made, sections)
    return sections.to_pool("b_", [*made, *_limit(rule), *_tries(rule)], share.pool)


def _limit(rule: Rule) -> list[str]:
    given = [limit for limit in (rule.request_timeout, rule.backend_timeout) if limit > 0]
    return [f"timeout server {milliseconds(min(given))}"] if given else []


def _tries(rule: Rule) -> list[str]:
    if rule.retry is None:
        return [
            f"retries {CONNECTION_TRIES}",
            "retry-on conn-failure empty-response",
            f"http-request disable-l7-retry unless {_REPEATABLE}",
        ]
    reasons = ["conn-failure", "empty-response", *map(str, sorted(set(rule.retry.codes)))]
    attempts = rule.retry.attempts
    if rule.backend_timeout > 0:
        reasons.append("response-timeout")
        if rule.request_timeout > 0:  # all of them together
            attempts = min(attempts, max(0, ceil(rule.request_timeout / rule.backend_timeout) - 1))
    return [f"retries {attempts}", f"retry-on {' '.join(reasons)}"]


def _spaced(rule: Rule, retry: Retry, pool: str, made: list[str], sections: Sections) -> str:
    """Tries that are counted, and wait, in a front that they all pass; its backend has the pool. Codes that HAProxy does not try again for
    are told to the counting side as one that it does (425), but for the last try."""
    inner = identifier("y_", pool, rule, made)
    beyond = sorted(set(retry.codes) - RETRIABLE)
    again = [
        f"http-response set-status {AGAIN} if {{ status {code} }} {{ var(txn.try) -m int le {retry.attempts} }}"
        for code in beyond
    ]
    sections.backends[TRIES] = ["stick-table type string len 40 size 100k expire 1h store gpc0"]
    sections.frontends[inner] = [
        f"bind unix@{sections.folder}/{inner} mode 600 accept-proxy",
        f"http-request track-sc0 req.fhdr({TRY}) table {TRIES}",
        "http-request set-var(txn.try) sc0_inc_gpc0",
        f"http-request del-header {TRY}",
        *([f"http-request lua.wait {ceil(retry.backoff * 1000)} if {{ var(txn.try) -m int gt 1 }}"] if retry.backoff else []),
        f"default_backend {sections.to_pool('b_', [*again, *_limit(rule), f'retries {CONNECTION_TRIES}'], pool)}",
    ]
    codes = sorted({*retry.codes, 503, *([504] if rule.backend_timeout else [])} & RETRIABLE | ({AGAIN} if beyond else set()))
    server = f"unix@{sections.folder}/{inner} send-proxy-v2"
    outer = [
        *made,
        f"http-request set-header {TRY} %[uuid]",
        f"retries {retry.attempts}",
        f"retry-on conn-failure empty-response {' '.join(map(str, codes))}",
        "option redispatch 1",
        f"server one {server}",
        f"server two {server}",
    ]
    return sections.backend("b_", outer)
