"""What a user writes stays one word of the configuration."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.dataplane.haproxy.text import argument, header_name, hostname, literal, milliseconds, word

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]))


@given(PRINTABLE)
def test_a_word_is_one_word_whatever_is_in_it(text: str) -> None:
    # HAProxy's single quotes are the shell's
    assert shlex.split(word(text)) == [text]
    assert "\n" not in word(text)


@pytest.mark.parametrize("text", ["a\nbind :80", "a\rb", "a\x00b"])
def test_a_line_cannot_be_ended_early(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        word(text)


def test_a_format_shows_percent_signs_as_they_are() -> None:
    assert literal("%[src] 100%") == "%%[src] 100%%"


def test_an_argument_cannot_close_its_parenthesis() -> None:
    assert argument('a"),lower(\\') == '"a\\"),lower(\\\\"'


@pytest.mark.parametrize("name", ["", "a b", "x:y", "a\n", "ä", 'a"b'])
def test_what_is_no_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header name"):
        header_name(name)


@pytest.mark.parametrize("name", ["a b", "a/b", "a.*.b", "-a", "a\nb"])
def test_what_is_no_hostname_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="hostname"):
        hostname(name)


def test_hostnames_are_compared_without_case() -> None:
    assert [hostname(name) for name in ("*.Example.COM", "a.Example.", "*", "")] == ["*.example.com", "a.example", "", ""]


def test_no_limit_is_the_longest_that_there_is() -> None:
    assert [milliseconds(0), milliseconds(1.5), milliseconds(10**9)] == ["24d", "1500ms", "2073600000ms"]
