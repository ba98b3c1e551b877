"""A rule's part of the configuration: the backend for each of its shares, with filters, time-outs and retries.

HAProxy's time-outs are for silence: an answer that has begun and keeps coming is not cut. Requests to be sent again are kept in one
buffer; a longer body is sent once. Between tries it does not wait.
"""

from __future__ import annotations

from pilothouse.dataplane.haproxy import filters, mirror, servers
from pilothouse.dataplane.haproxy.sections import Sections
from pilothouse.dataplane.haproxy.text import milliseconds
from pilothouse.dataplane.model import Filters, Rule, Share

#: What HAProxy can send a request again for.
RETRIABLE = frozenset({401, 403, 404, 408, 425, 500, 501, 502, 503, 504})
CONNECTION_TRIES = 3
#: A request of another method is not sent twice when its connection breaks before an answer.
_REPEATABLE = "{ method -m str -- GET HEAD OPTIONS PUT DELETE TRACE }"
FORWARDED = (
    "http-request set-header X-Forwarded-For '%[req.fhdr(x-forwarded-for)], %[src]' if { req.fhdr(x-forwarded-for) -m found }",
    "http-request set-header X-Forwarded-For %[src] unless { req.fhdr(x-forwarded-for) -m found }",
    "http-request set-header X-Forwarded-Host %[req.hdr(host)]",
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
    made += mirror.lines(rule.filters.mirrors + own.mirrors, sections)
    told = servers.parameters(sections.pool(share.pool), sections.folder)
    return sections.backend("b_", [*forwarded, *made, *_limits(rule)], share.pool, told)


def _limits(rule: Rule) -> list[str]:
    given = [limit for limit in (rule.request_timeout, rule.backend_timeout) if limit > 0]
    made = [f"timeout server {milliseconds(min(given))}"] if given else []
    if rule.retry is None:
        return [
            *made,
            f"retries {CONNECTION_TRIES}",
            "retry-on conn-failure empty-response",
            f"http-request disable-l7-retry unless {_REPEATABLE}",
        ]
    beyond = sorted(set(rule.retry.codes) - RETRIABLE)
    if beyond:
        raise ValueError(f"HAProxy cannot try again after {', '.join(map(str, beyond))}")
    reasons = ["conn-failure", "empty-response", *map(str, sorted(set(rule.retry.codes)))]
    if rule.backend_timeout > 0:
        reasons.append("response-timeout")
    return [*made, f"retries {rule.retry.attempts}", f"retry-on {' '.join(reasons)}"]
