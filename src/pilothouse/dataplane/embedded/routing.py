"""Which rule takes a request, compiled once for a front: hostnames to tables, matches to closures. No I/O.

Of sites, hosts and tunnels the one with the most specific hostname is asked, and it alone (Gateway API: listeners, HTTPRoute hostnames,
TLSRoute): an exact name, then the longest `*.` suffix, then any. Of a host's rules the first that matches takes the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar
from urllib.parse import parse_qsl

from pilothouse.dataplane.embedded.filters import Change, CorsPolicy, Headers, encoded, value_of
from pilothouse.dataplane.model import Edge, Filters, Host, Match, Mirror, Redirect, Retry, Rewrite, Rule, Share, Site, Text
from pilothouse.dataplane.model import Headers as Changes

T = TypeVar("T")


class Asked(Protocol):
    """A request, as far as rules look at it. `query` has its question mark."""

    method: bytes
    path: bytes
    query: bytes
    headers: Headers


Predicate = Callable[[Asked], bool]


class Names(Generic[T]):
    """Things by hostname; the most specific is found. The first of two with the same name counts."""

    __slots__ = ("_any", "_exact", "_suffixes")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[bytes, T] = {}
        self._suffixes: dict[bytes, T] = {}
        self._any: T | None = None
        for name, thing in entries:
            lower = encoded(name).lower().rstrip(b".")
            if lower in (b"", b"*"):
                self._any = thing if self._any is None else self._any
            elif lower.startswith(b"*."):
                self._suffixes.setdefault(lower[2:], thing)
            else:
                self._exact.setdefault(lower, thing)

    def find(self, name: bytes) -> T | None:
        found = self._exact.get(name)
        if found is not None:
            return found
        if self._suffixes:
            rest = name
            while b"." in rest:
                rest = rest.partition(b".")[2]
                found = self._suffixes.get(rest)
                if found is not None:
                    return found
        return self._any


class Way:
    """A share of a rule: the pool, and what happens to requests and answers on the way there."""

    __slots__ = ("cors", "mirrors", "pool", "redirect", "request", "response", "rewrite", "weight")

    def __init__(self, share: Share, rule: Filters) -> None:
        own = share.filters or Filters()
        self.pool = share.pool
        self.weight = share.weight
        self.request = _changes(rule.request, own.request)
        self.response = _changes(own.response, rule.response)
        self.redirect: Redirect | None = rule.redirect or own.redirect
        self.rewrite: Rewrite | None = own.rewrite or rule.rewrite
        self.mirrors: tuple[Mirror, ...] = rule.mirrors + own.mirrors
        cors = rule.cors or own.cors
        self.cors = None if cors is None else CorsPolicy(cors)


def _changes(*changes: Changes | None) -> tuple[Change, ...]:
    return tuple(Change(change) for change in changes if change is not None)


class Action:
    """A rule, ready: whether it takes a request, and the way of the next one that it takes."""

    __slots__ = ("_credit", "_total", "backend_timeout", "match", "matches", "origin", "request_timeout", "retry", "rule", "ways")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.match = rule.match
        self.matches = compile_match(rule.match)
        self.origin = rule.origin
        self.request_timeout = rule.request_timeout
        self.backend_timeout = rule.backend_timeout
        self.retry: Retry | None = rule.retry if rule.retry is not None and rule.retry.attempts > 0 else None
        shares = [share for share in rule.shares if share.weight > 0]
        if not shares:  # a redirect needs no pool; "" is a pool that cannot be
            shares = [Share("")]
        self.ways = [Way(share, rule.filters) for share in shares]
        self._total = sum(way.weight for way in self.ways)
        self._credit = [0] * len(self.ways)

    def pick(self) -> Way:
        """The next way. In any run of requests each has had its part, as evenly spread as weights allow (smooth weighted round robin)."""
        ways = self.ways
        if len(ways) == 1:
            return ways[0]
        credit = self._credit
        best = 0
        for index, way in enumerate(ways):
            credit[index] += way.weight
            if credit[index] > credit[best]:
                best = index
        credit[best] -= self._total
        return ways[best]


class Actions:
    """Rules made ready. One that was there in the last round, the very object, is taken over with the turns of its shares."""

    def __init__(self, last: Actions | None = None) -> None:
        self._last: dict[int, Action] = {} if last is None else last._made
        self._made: dict[int, Action] = {}

    def of(self, rule: Rule) -> Action:
        action = self._last.get(id(rule))
        if action is None or action.rule is not rule:
            action = Action(rule)
        self._made[id(rule)] = action
        return action

    def done(self) -> None:
        """The round is over: what it did not ask for is forgotten."""
        self._last = {}


class HostRoutes:
    """The rules of one hostname."""

    __slots__ = ("_actions",)

    def __init__(self) -> None:
        self._actions: list[Action] = []

    def add(self, host: Host, actions: Actions) -> None:
        self._actions += [actions.of(rule) for rule in host.rules]

    def find(self, asked: Asked) -> Action | None:
        for action in self._actions:
            if action.matches(asked):
                return action
        return None


class SiteRoutes:
    """One site: its hosts for what is read as HTTP, its tunnels for what is not."""

    __slots__ = ("hosts", "site", "tunnels")

    def __init__(self, site: Site, actions: Actions) -> None:
        self.site = site
        named: dict[str, HostRoutes] = {}
        for host in site.hosts:
            named.setdefault(host.hostname.lower(), HostRoutes()).add(host, actions)
        self.hosts = Names(named.items())
        self.tunnels = Names((name, Action(Rule(shares=shares))) for name, shares in site.tunnels)


def compile_edge(edge: Edge, actions: Actions | None = None) -> Names[SiteRoutes]:
    """An edge's sites by hostname. ValueError for a regular expression that is none."""
    actions = actions or Actions()
    sites = Names((site.hostname, SiteRoutes(site, actions)) for site in edge.sites)
    actions.done()
    return sites


# --- matches ------------------------------------------------------------------------------------------------------------------


def compile_match(match: Match) -> Predicate:
    """Whether a request is like this. Regular expressions (RE2) have to match the whole of what they are held against."""
    parts = [_path(match)]
    if match.method:
        method = encoded(match.method)
        parts.append(lambda asked: asked.method == method)
    parts += [_header(header) for header in match.headers]
    if match.query:
        parts.append(_query(match.query))
    if len(parts) == 1:
        return parts[0]
    return lambda asked: all(part(asked) for part in parts)


def _path(match: Match) -> Predicate:
    path = encoded(match.path)
    if match.path_type == "Exact":
        return lambda asked: asked.path == path
    if match.path_type == "RegularExpression":
        fits = _expression(match.path)
        return lambda asked: fits(asked.path)
    exact = path.rstrip(b"/")
    if not exact:
        return lambda asked: True
    under = exact + b"/"
    return lambda asked: asked.path.startswith(under) or asked.path == exact


def _header(header: Text) -> Predicate:
    name, fits = encoded(header.name).lower(), _value(header)

    def matches(asked: Asked) -> bool:
        value = value_of(asked.headers, name)
        return value is not None and fits(value)

    return matches


def _query(wanted: tuple[Text, ...]) -> Predicate:
    tests = [(encoded(text.name), _value(text)) for text in wanted]

    def matches(asked: Asked) -> bool:
        if len(asked.query) < 2:
            return False
        given: dict[bytes, bytes] = {}
        for name, value in parse_qsl(asked.query[1:], keep_blank_values=True):
            given.setdefault(name, value)
        return all(name in given and fits(given[name]) for name, fits in tests)

    return matches


def _value(text: Text) -> Callable[[bytes], bool]:
    if text.regex:
        return _expression(text.value)
    value = encoded(text.value)
    return lambda given: given == value


def _expression(pattern: str) -> Callable[[bytes], bool]:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(encoded(pattern), options)
    except re2.error as error:
        raise ValueError(f"not a regular expression: {pattern!r}: {error}") from error
    return lambda text: compiled.fullmatch(text) is not None
