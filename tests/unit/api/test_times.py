"""Times: RFC 3339 in, UTC out, and what is wrong told part by part."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import times

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
moments = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2100, 1, 1), timezones=zones)


@given(moments)
def test_any_zone_is_brought_to_utc(moment: dt.datetime) -> None:
    text = times.canonical_time(moment.isoformat())
    assert text == moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert times.canonical_time(text) == text


@given(moments)
def test_micro_times_keep_their_six_digits(moment: dt.datetime) -> None:
    text = times.canonical_micro_time(moment.isoformat(timespec="microseconds"))
    assert text == moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert times.seconds(text) == pytest.approx(moment.timestamp())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'),
        ("2026-01-02", 'parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
        ("2026-01-02T03:04:05", 'parsing time "2026-01-02T03:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"'),
        ("2026-01-02T03:04:05Zx", 'parsing time "2026-01-02T03:04:05Zx": extra text: "x"'),
        ("2026-13-02T03:04:05Z", 'parsing time "2026-13-02T03:04:05Z": month out of range'),
        ("2026-02-30T03:04:05Z", 'parsing time "2026-02-30T03:04:05Z": day out of range'),
        ("2026-01-02T24:04:05Z", 'parsing time "2026-01-02T24:04:05Z": hour out of range'),
    ],
)
def test_what_is_no_time_is_told_where_it_stops_being_one(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        times.canonical_time(text)
    assert str(caught.value) == problem


def test_a_micro_time_needs_its_six_digits() -> None:
    with pytest.raises(ValueError, match=r'cannot parse "Z" as "\.000000"'):
        times.canonical_micro_time("2026-01-02T03:04:05Z")
