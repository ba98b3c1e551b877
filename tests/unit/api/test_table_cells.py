"""Ages and the other building blocks of Tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import table
from pilothouse.api.duration import human, short_human

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2.5, "<invalid>"), (-1, "0s"), (0, "0s"), (0.9, "0s"), (1, "1s"), (119, "119s"), (120, "2m"), (150, "2m30s"),
        (10 * MINUTE - 1, "9m59s"), (10 * MINUTE + 30, "10m"), (3 * HOUR - 1, "179m"), (3 * HOUR, "3h"), (3 * HOUR + 25 * MINUTE, "3h25m"),
        (8 * HOUR - 1, "7h59m"), (8 * HOUR + 59, "8h"), (2 * DAY - 1, "47h"), (2 * DAY, "2d"), (2 * DAY + HOUR, "2d1h"), (8 * DAY - 1, "7d23h"),
        (8 * DAY, "8d"), (729 * DAY, "729d"), (730 * DAY, "2y"), (731 * DAY, "2y1d"), (8 * 365 * DAY, "8y"), (3000 * DAY, "8y"),
    ],
)  # fmt: skip
def test_durations_read_as_kubectl_writes_them(seconds: float, text: str) -> None:
    assert human(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "<invalid>"), (59, "59s"), (60, "1m"), (3599, "59m"), (DAY - 1, "23h"), (364 * DAY, "364d"), (365 * DAY, "1y")],
)
def test_short_durations_have_one_unit(seconds: float, text: str) -> None:
    assert short_human(seconds) == text


@given(st.integers(0, 20 * 365 * DAY))
def test_a_longer_time_never_reads_shorter(seconds: int) -> None:
    def back(text: str) -> int:
        total, digits = 0, ""
        for letter in text:
            if letter.isdigit():
                digits += letter
            else:
                total, digits = total + int(digits) * {"s": 1, "m": 60, "h": HOUR, "d": DAY, "y": 365 * DAY}[letter], ""
        return total

    assert back(human(seconds)) <= seconds < back(human(seconds)) * 1.25 + 1 or seconds >= 2 * 365 * DAY
    assert back(human(seconds)) <= back(human(seconds + 1))


def test_an_age_is_counted_from_creation() -> None:
    assert table.age({"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}}, 100) == "90s"
    assert table.age({"metadata": {}}, 100) == "<unknown>"


def test_access_modes_are_short_ordered_and_unique() -> None:
    assert table.access_modes(["ReadWriteMany", "ReadWriteOnce", "ReadWriteMany"]) == "RWO,RWX"
    assert table.access_modes(None) == ""


def test_what_is_missing_has_its_word() -> None:
    assert (table.or_word(""), table.or_word(0), table.or_word(None, "<unset>")) == ("<none>", 0, "<unset>")
    assert (table.yes_no(True), table.yes_no(None)) == ("True", "<unset>")
    assert (table.labels_text({"b": "2", "a": "1"}), table.labels_text({})) == ("a=1,b=2", "<none>")
    assert table.more(["a", "b"], 5) == "a,b + 3 more..."
