"""The configuration that is made of fronts and pools, as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilothouse.dataplane.haproxy.configuration import NAME, Configuration, render
from pilothouse.dataplane.haproxy.sections import Listener
from pilothouse.dataplane.model import (
    Edge,
    Endpoint,
    Filters,
    Forward,
    Front,
    Headers,
    Host,
    Match,
    Pool,
    Redirect,
    Rule,
    Share,
    Site,
    Text,
)  # fmt: skip

ONE = Pool("one", (Endpoint("127.64.0.1", 80), Endpoint("127.64.0.2", 80)))
RULE = Rule(shares=(Share("one"),))


def made(*fronts: Front, pools: tuple[Pool, ...] = (ONE,)) -> Configuration:
    listeners = {front.name: Listener(10 + place, 20 + place, f"/x/hop{place}") for place, front in enumerate(fronts)}
    return render(fronts, {pool.name: pool for pool in pools}, listeners, "/x", 9)


def text(*fronts: Front, pools: tuple[Pool, ...] = (ONE,)) -> str:
    return made(*fronts, pools=pools).files[NAME]


def edge(*rules: Rule, hostname: str = "") -> Edge:
    return Edge("e", "127.0.0.1", 80, sites=(Site(hosts=(Host(hostname, rules),)),))


def lines(configuration: str, beginning: str) -> list[str]:
    return [line.strip() for line in configuration.splitlines() if line.strip().startswith(beginning)]


def decided(configuration: str) -> list[str]:
    """The lines that choose a rule."""
    return [line for line in lines(configuration, "http-request set-var(txn.to)") if " if !decided" in line]


def test_the_same_fronts_make_the_same_text() -> None:
    front = edge(RULE, replace(RULE, match=Match("/x")))
    assert text(front) == text(front)


def test_a_forward_accepts_by_the_socket_that_is_held_and_only_from_its_networks() -> None:
    found = text(Forward("f", "127.0.0.1", 80, "TCP", "one", ("10.0.0.0/8", "fd00::/8")))
    assert lines(found, "bind fd") == ["bind fd@10"]
    assert lines(found, "acl allowed") == ["acl allowed src 10.0.0.0/8", "acl allowed src fd00::/8"]


def test_rules_are_tried_in_their_order_and_the_first_decides() -> None:
    found = text(edge(Rule(Match("/b"), (Share("one"),)), Rule(Match("/a"), filters=Filters(redirect=Redirect()))))
    decisions = decided(found)
    assert [line.split("str(")[1][0] for line in decisions] == ["b", "r"]


def test_rules_that_do_the_same_share_a_backend() -> None:
    two = made(edge(Rule(Match("/a"), (Share("one"),)), Rule(Match("/b"), (Share("one"),))))
    assert len(two.uses["one"]) == 1


def test_an_endpoint_alone_is_there_twice_so_that_a_second_try_does_not_wait() -> None:
    alone = Pool("one", ONE.endpoints[:1])
    assert lines(text(edge(RULE), pools=(alone,)), "server '") == [
        "server '127.64.0.1:80' 127.64.0.1:80 weight 256",
        "server '127.64.0.1:80:again' 127.64.0.1:80 weight 1",
    ]


def test_nothing_that_a_user_writes_breaks_out_of_its_word() -> None:
    evil = "' } # %[env(HOME)] \\\" ${HOME}"
    rule = Rule(
        Match(f"/{evil}", "Exact", evil, (Text("X-A", evil),), (Text(evil, evil),)),
        (Share("one"),),
        Filters(request=Headers(set=(("X-B", evil),))),
    )
    found = text(edge(rule))
    for line in found.splitlines():
        if "HOME" in line:
            assert "'\\'' } #" in line or "%27%20%7D" in line
    assert "%%[env(HOME)]" in found


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Match("/a\nglobal", "Exact"), (Share("one"),)),
        Rule(Match(headers=(Text("a b", "c"),)), (Share("one"),)),
        Rule(filters=Filters(response=Headers(set=(("a", "b\r\nc: d"),))), shares=(Share("one"),)),
    ],
)
def test_what_cannot_be_said_is_a_value_error(rule: Rule) -> None:
    with pytest.raises(ValueError):
        text(edge(rule))


def test_two_thousand_rules_to_one_pool_need_its_servers_once() -> None:
    found = text(edge(*(Rule(Match(f"/{number}"), (Share("one"),)) for number in range(2000))))
    assert len(decided(found)) == 2000
    assert len(lines(found, "server '")) == 2
