"""The order of a listener's rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cloud.providers.aws.listeners import LAST, STEP, priorities


def test_new_rules_lie_apart() -> None:
    assert priorities([None, None, None], set()) == [100, 200, 300]


def test_what_is_in_order_stays() -> None:
    assert priorities([7, 9, 500], {7, 9, 500}) == [7, 9, 500]


def test_a_new_rule_takes_a_free_place_between() -> None:
    before, new, after = priorities([100, None, 200], {100, 150, 200})
    assert (before, after) == (100, 200)
    assert 100 < new < 200 and new != 150


def test_as_few_as_possible_move() -> None:
    assert [p in (100, 200, 300, 400) for p in priorities([400, 100, 200, 300], {100, 200, 300, 400})].count(False) == 1


def test_without_room_all_move_behind_the_last() -> None:
    assert priorities([1, None, 2], {1, 2}) == [2 + STEP, 2 + 2 * STEP, 2 + 3 * STEP]


def test_at_the_end_of_all_priorities_they_begin_again() -> None:
    assert priorities([LAST - 1, LAST, None], {LAST - 1, LAST}) == [100, 200, 300]


@given(st.lists(st.one_of(st.none(), st.integers(1, 60)), max_size=40), st.sets(st.integers(1, LAST), max_size=40))
def test_priorities_ascend_and_are_free_or_their_own(wanted: list[int | None], others: set[int]) -> None:
    seen: set[int] = set()
    there: list[int | None] = []
    for each in wanted:
        there.append(each if each is not None and each not in seen else None)
        seen |= {each} if each is not None else set()
    taken = seen | others
    found = priorities(there, taken)
    assert found == sorted(set(found)) and len(found) == len(there)
    assert all(1 <= p <= LAST for p in found)
    assert all(p == before or p not in taken for p, before in zip(found, there, strict=True))
