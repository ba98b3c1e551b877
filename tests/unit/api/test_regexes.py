"""Patterns of users, as Go reads them."""

from __future__ import annotations

import pytest

from pilothouse.api import regexes
from pilothouse.api.regexes import RegexError


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("[a", "missing closing ]: `[a`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("a\\", "trailing backslash at end of expression: ``"),
    ],
)
def test_what_is_no_pattern_is_told_with_the_part_that_is_wrong(pattern: str, told: str) -> None:
    with pytest.raises(RegexError) as error:
        regexes.compiled(pattern)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a$", "a\n", False),
        (r"^\d+\z", "12", True),
        (r"^\w+$", "é", False),
        ("[[:alpha:]]{2}", "1ab", True),
        (r"\pL", "é", True),
        ("(?i)ABC", "xabc", True),
    ],
)
def test_a_pattern_is_looked_for_anywhere_and_by_ascii_classes(pattern: str, text: str, found: bool) -> None:
    assert regexes.compiled(pattern).matches(text) is found


def test_all_matches_are_found_but_empty_ones_after_another() -> None:
    assert list(regexes.compiled("a*").find_all("baac")) == ["", "aa", ""]
    assert regexes.compiled("é+").find("caféé!") == "éé"


def test_no_pattern_takes_longer_than_its_text() -> None:
    assert not regexes.compiled("^(a+)+$").matches("a" * 50_000 + "b")
