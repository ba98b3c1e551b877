"""Hostnames, durations, conditions, certificates: the small rules that all others stand on."""

from __future__ import annotations

import pytest

from pilothouse.cloud.gateway.certificates import Malformed, authorities_of, certificate_of
from pilothouse.cloud.gateway.conditions import merged, no, yes
from pilothouse.cloud.gateway.durations import seconds
from pilothouse.cloud.gateway.hostnames import covers, intersection, intersections, specificity, wider

from .world import config_map, pair, secret


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("", "", ""),
        ("", "a.example.com", "a.example.com"),
        ("a.example.com", "a.example.com", "a.example.com"),
        ("a.example.com", "b.example.com", None),
        ("*.example.com", "a.example.com", "a.example.com"),
        ("*.example.com", "a.b.example.com", "a.b.example.com"),
        ("*.example.com", "example.com", None),
        ("*.example.com", "*.b.example.com", "*.b.example.com"),
        ("*.a.example.com", "*.b.example.com", None),
        ("*.example.com", "notexample.com", None),
    ],
)
def test_hostnames_have_the_narrower_one_in_common(one: str, other: str, common: str | None) -> None:
    assert intersection(one, other) == intersection(other, one) == common


def test_the_most_specific_hostname_comes_first() -> None:
    names = ["", "*.com", "a.com", "*.example.com", "www.example.com"]
    assert sorted(names, key=specificity) == ["www.example.com", "a.com", "*.example.com", "*.com", ""]
    assert covers("*.com", "*.example.com") and not covers("*.example.com", "*.com")


def test_the_patterns_over_a_name_are_known_without_a_search() -> None:
    assert list(wider("a.b.com")) == ["*.b.com", "*.com", ""]
    assert list(wider("*.b.com")) == ["*.com", ""]
    assert list(wider("localhost")) == [""] and not list(wider(""))
    assert all(covers(pattern, "a.b.com") for pattern in wider("a.b.com"))


def test_a_listener_serves_a_routes_hostnames_as_far_as_it_has_them() -> None:
    found = intersections("a.example.com", ["*.example.com", "a.example.com", "other.org"])
    assert found == {"a.example.com": "a.example.com"}, "the route's closest name for it"
    assert intersections("*.example.com", []) == {"*.example.com": ""}


@pytest.mark.parametrize(("text", "value"), [("0s", 0), ("10s", 10), ("1h30m", 5400), ("500ms", 0.5), ("1m1s1ms", 61.001)])
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "1.5s", "10", "-1s", "1d", "1h1m1s1ms1h"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = merged(None, [no("Accepted", "Pending")], 1, "t1")
    second = merged(first, [no("Accepted", "Invalid", "why")], 2, "t2")
    assert second == [
        {
            "type": "Accepted",
            "status": "False",
            "reason": "Invalid",
            "message": "why",
            "observedGeneration": 2,
            "lastTransitionTime": "t1",
        }
    ]
    assert merged(second, [yes("Accepted")], 2, "t3")[0]["lastTransitionTime"] == "t3"


def test_conditions_of_others_stay_and_passing_ones_go() -> None:
    others = {"type": "example.com/Checked", "status": "True", "lastTransitionTime": "t0", "reason": "R", "message": ""}
    passing = merged([others], [yes("PartiallyInvalid", "UnsupportedValue")], 1, "t1")
    after = merged(passing, [yes("Accepted")], 1, "t2")
    assert [c["type"] for c in after] == ["example.com/Checked", "Accepted"]
    assert after[0] is others


def test_certificates_are_checked_before_they_are_used() -> None:
    assert certificate_of(secret()).chain == pair()[0]
    assert authorities_of(config_map()) == pair()[0]
    for wrong in (
        secret(chain="no"),
        secret(key="no"),
        secret(key=pair("b.example.com")[1]),
        {"data": {}},
        {"data": {"tls.crt": "%"}},
    ):
        with pytest.raises(Malformed):
            certificate_of(wrong)
    for wrong in (config_map(text="no"), {}):
        with pytest.raises(Malformed):
            authorities_of(wrong)
