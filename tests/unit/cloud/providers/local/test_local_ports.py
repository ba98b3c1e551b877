"""Which port stands for one that cannot be had."""

from __future__ import annotations

import errno
import itertools
import socket

import pytest

from pilothouse.client import loopback
from pilothouse.cloud.providers.local.ports import SPARE, NoPort, candidates, choose, probe, read, write


@pytest.fixture(autouse=True)
def without_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "first_port", lambda: 1024)


def first(asked: int, before: int | None = None, count: int = 3) -> list[int]:
    return list(itertools.islice(candidates(asked, before), count))


def test_a_port_that_needs_no_privilege_is_tried_first_and_then_moved_by_40000() -> None:
    assert first(8080) == [8080, 48080, SPARE[0]]


def test_a_privileged_port_is_moved_at_once() -> None:
    assert first(80) == [40080, SPARE[0], SPARE[1]]


def test_a_port_is_looked_for_first_where_it_was_before() -> None:
    assert first(80, before=41200) == [41200, 40080, SPARE[0]]


def test_a_high_port_has_nowhere_to_be_moved_but_to_the_spare_ones() -> None:
    assert first(30000) == [30000, SPARE[0], SPARE[1]]


def test_the_first_free_port_is_chosen() -> None:
    taken = {8080, 48080}
    assert choose(8080, "TCP", "127.9.0.1", lambda p: errno.EADDRINUSE if p in taken else 0) == SPARE[0]


def test_where_nothing_is_free_the_reason_is_told() -> None:
    with pytest.raises(NoPort, match=r"no port on 127\.9\.0\.1 can stand for 8080/UDP"):
        choose(8080, "UDP", "127.9.0.1", lambda p: errno.EADDRINUSE)
    with pytest.raises(NoPort, match=r"192\.0\.2\.1 is not an address of this machine"):
        choose(8080, "TCP", "192.0.2.1", lambda p: errno.EADDRNOTAVAIL)


def test_a_port_is_not_free_while_somebody_listens_on_it() -> None:
    with socket.create_server(("127.9.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert probe("127.9.0.1", port, "TCP") == errno.EADDRINUSE
        assert probe("127.9.0.1", port, "UDP") == 0
        assert probe("127.9.0.2", port, "TCP") == 0
    assert probe("127.9.0.1", port, "TCP") == 0


def test_an_annotation_names_what_was_moved_and_is_read_again() -> None:
    moved = {(80, "TCP"): 40080, (8080, "TCP"): 8080, (53, "UDP"): 40053}
    assert write(moved) == "53/UDP=40053, 80/TCP=40080"
    assert read(write(moved)) == {(53, "UDP"): 40053, (80, "TCP"): 40080}
    assert write({(8080, "TCP"): 8080}) == ""


def test_an_annotation_that_says_something_else_is_no_news() -> None:
    assert read("") == read("hello, 80=5, x/TCP=1, 80/SCTP=1") == {}
