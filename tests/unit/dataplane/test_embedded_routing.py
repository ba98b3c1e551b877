"""Hostnames, matches and weights of the embedded engine, without a socket."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.routing import Action, Actions, Names, compile_edge, compile_match
from pilothouse.dataplane.model import Edge, Filters, Host, Match, Redirect, Rule, Share, Site, Text
from pilothouse.dataplane.model import Headers as Changes


@dataclass
class Asked:
    path: bytes = b"/"
    method: bytes = b"GET"
    query: bytes = b""
    headers: Headers = field(default_factory=list)


def takes(match: Match, asked: Asked) -> bool:
    return compile_match(match)(asked)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"www.example.com", "exact"),
        (b"api.example.com", "wild"),
        (b"a.b.example.com", "wild"),
        (b"x.api.example.com", "deeper"),
        (b"example.com", "any"),
        (b"notexample.com", "any"),
        (b"", "any"),
    ],
)
def test_the_most_specific_name_is_found(name: bytes, expected: str) -> None:
    names = Names([("", "any"), ("*.example.com", "wild"), ("*.api.example.com", "deeper"), ("WWW.example.com", "exact")])
    assert names.find(name) == expected


def test_without_a_name_for_any_some_are_not_found() -> None:
    assert Names([("*.example.com", 1)]).find(b"example.com") is None


def test_of_two_with_the_same_name_the_first_counts() -> None:
    assert Names([("a.org", 1), ("a.org", 2), ("", 3), ("*", 4)]).find(b"a.org") == 1


@given(st.lists(st.text("ab", min_size=1, max_size=2), min_size=2, max_size=5))
def test_a_suffix_covers_every_name_with_more_labels_and_not_itself(labels: list[str]) -> None:
    suffix = ".".join(labels[1:])
    names = Names([(f"*.{suffix}", True)])
    assert names.find(".".join(labels).encode()) is True
    assert names.find(suffix.encode()) is None or suffix.endswith(f".{suffix}")


@given(st.text("a/", max_size=6), st.text("a/", max_size=6))
def test_a_prefix_matches_as_its_elements_do(prefix: str, path: str) -> None:
    def elements(text: str) -> list[str]:
        return ("/" + text).rstrip("/").split("/")

    wanted, given_ = elements(prefix), elements(path)
    assert takes(Match("/" + prefix), Asked(("/" + path).encode())) == (given_[: len(wanted)] == wanted)


def test_all_parts_of_a_match_have_to_hold() -> None:
    match = Match("/a", method="POST", headers=(Text("X-One", "1"),), query=(Text("q", "v"),))
    fits = Asked(b"/a/b", b"POST", b"?q=v", [(b"x-one", b"1")])
    assert takes(match, fits)
    for asked in (
        Asked(b"/b", b"POST", b"?q=v", [(b"x-one", b"1")]),
        Asked(b"/a", b"GET", b"?q=v", [(b"x-one", b"1")]),
        Asked(b"/a", b"POST", b"?q=w", [(b"x-one", b"1")]),
        Asked(b"/a", b"POST", b"?q=v", [(b"x-one", b"2")]),
        Asked(b"/a", b"POST", b"", []),
    ):
        assert not takes(match, asked)


def test_a_header_that_comes_twice_counts_as_one_list() -> None:
    match = Match(headers=(Text("x", "1, 2"),))
    assert takes(match, Asked(headers=[(b"x", b"1"), (b"x", b"2")]))


def test_query_parameters_are_decoded_and_the_first_of_a_name_counts() -> None:
    match = Match(query=(Text("name", "a b"),))
    assert takes(match, Asked(query=b"?name=a%20b&name=c"))
    assert takes(match, Asked(query=b"?name=a+b"))
    assert not takes(match, Asked(query=b"?name=c&name=a+b"))
    assert takes(Match(query=(Text("empty", ""),)), Asked(query=b"?empty="))


def test_an_expression_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        compile_edge(Edge("e", "", 1, sites=(Site(hosts=(Host(rules=(Rule(Match("(", "RegularExpression")),)),)),)))


def test_weights_are_kept_exactly_and_spread_evenly() -> None:
    action = Action(Rule(shares=(Share("a", 3), Share("b", 1), Share("none", 0))))
    picked = [action.pick().pool for _ in range(8)]
    assert Counter(picked) == {"a": 6, "b": 2}
    assert Counter(picked[:4]) == {"a": 3, "b": 1}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any))
def test_a_round_of_any_weights_gives_each_its_part(weights: list[int]) -> None:
    action = Action(Rule(shares=tuple(Share(str(number), weight) for number, weight in enumerate(weights))))
    picked = Counter(action.pick().pool for _ in range(sum(weights)))
    assert picked == {str(number): weight for number, weight in enumerate(weights) if weight}


def test_without_a_share_that_counts_there_is_no_pool() -> None:
    for shares in ((), (Share("a", 0),)):
        assert Action(Rule(shares=shares)).pick().pool == ""


def test_a_shares_filters_follow_the_rules() -> None:
    def add(value: str) -> Filters:
        return Filters(request=Changes(add=(("x", value),)), response=Changes(add=(("x", value),)))

    way = Action(Rule(shares=(Share("a", filters=add("share")),), filters=add("rule"))).pick()
    request: Headers = []
    for change in way.request:
        request = change.apply(request)
    response: Headers = []
    for change in way.response:
        response = change.apply(response)
    assert [value for _, value in request] == [b"rule", b"share"]
    assert [value for _, value in response] == [b"share", b"rule"], "an answer comes back the way that the request went"


def test_a_redirect_needs_no_share() -> None:
    redirect = Redirect(hostname="a.org")
    assert Action(Rule(filters=Filters(redirect=redirect))).pick().redirect == redirect


def test_rules_of_one_hostname_are_tried_in_their_order_wherever_they_stand() -> None:
    first, second = Rule(Match("/a"), origin="first"), Rule(Match("/"), origin="second")
    sites = (Site("", (Host("a.org", (first,)), Host("A.org", (second,)))),)
    site = compile_edge(Edge("e", "", 1, sites=sites)).find(b"a.org")
    assert site is not None
    host = site.hosts.find(b"a.org")
    assert host is not None
    found = [host.find(Asked(path)) for path in (b"/a", b"/b")]
    assert [action.origin for action in found if action] == ["first", "second"]


def test_rules_that_stay_are_not_made_anew() -> None:
    def edge(*rules: Rule) -> Edge:
        return Edge("e", "", 1, sites=(Site(hosts=(Host(rules=rules),)),))

    def made(edge: Edge, actions: Actions) -> Action | None:
        site = compile_edge(edge, actions).find(b"")
        host = site and site.hosts.find(b"")
        return host and host.find(Asked(b"/a"))

    stays, first = Rule(Match("/a"), (Share("a"),)), Actions()
    action = made(edge(stays), first)
    second = Actions(first)
    assert made(edge(Rule(Match("/b")), stays), second) is action
    equal = Rule(Match("/a"), (Share("a"),))
    assert made(edge(equal), Actions(second)) is not action
