"""What is told to nftables when a Service changes: only what is different, and in an order that holds together."""

from __future__ import annotations

from pilothouse.nodes.proxy.nftables import EMPTY, changes_of, rules_of
from pilothouse.nodes.proxy.ways import Reached, Way

ONE, TWO, THREE = (("127.64.0.1", 8080), ("127.64.0.2", 8080), ("127.64.0.3", 8080))


def way(*endpoints: Reached, affinity: int = 0, address: str = "10.96.0.7") -> Way:
    return Way("cluster", address, 80, "TCP", endpoints, affinity)


def test_a_new_service_has_a_chain_and_is_led_to_last() -> None:
    lines = list(changes_of(EMPTY, rules_of("a/b", [way(ONE, TWO)])))
    assert [line.split()[:2] for line in lines] == [["add", "chain"], ["add", "rule"], ["add", "element"]]
    assert "numgen random mod 2 map { 0 : 127.64.0.1 . 8080, 1 : 127.64.0.2 . 8080 }" in lines[1]
    assert "services { 10.96.0.7 . tcp . 80 : goto way-" in lines[2]


def test_other_endpoints_change_the_rule_of_their_chain_and_nothing_else() -> None:
    lines = list(changes_of(rules_of("a/b", [way(ONE)]), rules_of("a/b", [way(TWO)])))
    assert [line.split()[:2] for line in lines] == [["flush", "chain"], ["add", "rule"]]


def test_what_is_the_same_is_not_told() -> None:
    rules = rules_of("a/b", [way(ONE), way(TWO, address="10.96.0.8", affinity=5)])
    assert list(changes_of(rules, rules_of("a/b", [way(ONE), way(TWO, address="10.96.0.8", affinity=5)]))) == []


def test_without_endpoints_it_is_refused() -> None:
    lines = list(changes_of(rules_of("a/b", [way(ONE)]), rules_of("a/b", [way()])))
    assert [line.split()[:2] for line in lines] == [
        ["delete", "element"],
        ["flush", "chain"],
        ["delete", "chain"],
        ["add", "element"],
    ]
    assert "refused { 10.96.0.7 . tcp . 80 }" in lines[-1]


def test_a_service_that_goes_takes_everything_with_it() -> None:
    rules = rules_of("a/b", [way(ONE, TWO, affinity=5)])
    made, gone = list(changes_of(EMPTY, rules)), list(changes_of(rules, EMPTY))
    for kind in ("element", "chain", "set"):
        assert len([x for x in made if x.startswith(f"add {kind}")]) == len([x for x in gone if x.startswith(f"delete {kind}")])


def test_the_clients_of_an_endpoint_that_stays_are_kept() -> None:
    before, after = (rules_of("a/b", [way(*endpoints, affinity=5)]) for endpoints in ((ONE, TWO), (TWO, THREE)))
    lines = list(changes_of(before, after))
    kept = set(before.sets) & set(after.sets)
    assert len(kept) == 1
    assert not any(line.startswith(("delete set", "add set")) and name in line for line in lines for name in kept)


def test_services_never_share_a_chain() -> None:
    assert not rules_of("a/b", [way(ONE)]).chains.keys() & rules_of("a/c", [way(ONE)]).chains.keys()
