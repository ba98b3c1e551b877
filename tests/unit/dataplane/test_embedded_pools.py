"""Which endpoint is next: turns, least connections, affinity, and endpoints that leave."""

from __future__ import annotations

from dataclasses import replace

from pilothouse.dataplane.embedded.pools import PoolState, Target
from pilothouse.dataplane.model import Endpoint, Pool, UpstreamTls


def pool(*ports: int, affinity: int = 0) -> Pool:
    return Pool("p", tuple(Endpoint("127.0.0.1", port) for port in ports), affinity_seconds=affinity)


def chosen(state: PoolState, *avoid: Target, client: str = "c", now: float = 0.0) -> int:
    target = state.choose(client, avoid, now, "round_robin")
    return 0 if target is None else target.port


def test_endpoints_take_turns() -> None:
    state = PoolState(pool(1, 2, 3))
    assert sorted(chosen(state) for _ in range(3)) == [1, 2, 3]
    assert sorted(chosen(state) for _ in range(6)) == [1, 1, 2, 2, 3, 3]


def test_an_endpoint_that_is_avoided_is_passed_over() -> None:
    state = PoolState(pool(1, 2))
    first = state.targets[0]
    assert {chosen(state, first) for _ in range(4)} == {2}
    assert chosen(state, *state.targets) == 0


def test_an_endpoint_that_could_not_be_reached_comes_last_for_a_while() -> None:
    state = PoolState(pool(1, 2))
    one = next(target for target in state.targets if target.port == 1)
    one.shunned_until = 5.0
    assert {chosen(state, now=4.0) for _ in range(4)} == {2}
    assert chosen(state, state.targets[1], now=4.0) == 1, "better than none"
    assert {chosen(state, now=6.0) for _ in range(4)} == {1, 2}


def test_the_least_busy_endpoint_is_next_where_that_is_asked_for() -> None:
    state = PoolState(pool(1, 2, 3))
    state.targets[0].active, state.targets[1].active, state.targets[2].active = 2, 0, 1
    target = state.choose("c", (), 0.0, "least_connections")
    assert target is not None and target.port == 2


def test_a_client_stays_until_it_has_been_away_too_long() -> None:
    state = PoolState(pool(1, 2, 3, affinity=10))
    first = chosen(state)
    assert [chosen(state, now=float(now)) for now in (0, 9, 18, 27)] == [first] * 4
    assert [chosen(state, client="other", now=27.0), chosen(state, now=37.5)] != [first, first]


def test_a_client_whose_endpoint_left_or_refused_stays_with_another() -> None:
    state = PoolState(pool(1, 2, affinity=10))
    first = chosen(state)
    refusing = next(target for target in state.targets if target.port == first)
    other = chosen(state, refusing)
    assert other not in (0, first)
    assert chosen(state) == other
    state.tell(pool(first, affinity=10))
    assert chosen(state) == first


def test_clients_that_are_long_gone_are_forgotten() -> None:
    state = PoolState(pool(1, affinity=10))
    for number in range(10_000):
        chosen(state, client=str(number), now=float(number))
    assert len(state._clients) < 5000


def test_an_endpoint_keeps_its_state_while_it_stays() -> None:
    state = PoolState(pool(1, 2))
    before = {target.port: target for target in state.targets}
    state.tell(pool(2, 3))
    after = {target.port: target for target in state.targets}
    assert after[2] is before[2]
    assert before[1].gone and not before[2].gone


def test_another_protocol_means_other_endpoints() -> None:
    state = PoolState(pool(1))
    before = state.targets[0]
    state.tell(replace(pool(1), tls=UpstreamTls("a.org")))
    assert before.gone and state.targets[0] is not before
