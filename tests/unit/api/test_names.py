"""Names, label keys and values, and what else has to look like something."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import names

lower = string.ascii_lowercase + string.digits
label_text = st.text(lower + "-", min_size=1, max_size=70)


@pytest.mark.parametrize("name", ["a", "a.b", "1", "a-b", "a" * 253, "a.b-c.d"])
def test_subdomains(name: str) -> None:
    assert names.dns1123_subdomain(name) == []


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", ".a", "a..b", "a b", "é", "a\n"])
def test_what_is_no_subdomain_is_told_the_rule_and_an_example(name: str) -> None:
    (message,) = names.dns1123_subdomain(name)
    assert message.startswith("a lowercase RFC 1123 subdomain must consist of")
    assert "(e.g. 'example.com', regex used for validation is" in message


def test_length_is_told_apart_from_form() -> None:
    assert names.dns1123_subdomain("a" * 254) == ["must be no more than 253 characters"]
    assert names.dns1123_label("a" * 64) == ["must be no more than 63 characters"]
    assert names.label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert len(names.dns1123_label("-" * 64)) == 2


def test_a_label_with_dots_is_told_so() -> None:
    assert names.dns1123_label("a.b") == ["must not contain dots"]


def test_a_1035_label_begins_with_a_letter() -> None:
    assert names.dns1035_label("a1") == []
    assert names.dns1035_label("1a") != []
    assert names.dns1123_label("1a") == []


@given(label_text)
def test_a_label_is_a_subdomain_and_a_label_value(name: str) -> None:
    if not names.dns1123_label(name):
        assert names.dns1123_subdomain(name) == []
        assert names.label_value(name) == []
        assert names.qualified_name(name) == []


@given(label_text)
def test_a_prefix_may_end_in_a_dash_that_the_rest_will_follow(name: str) -> None:
    if not names.dns1123_label(name) and len(name) < 63:
        assert names.dns1123_label(name + "-", prefix=True) == []
        assert names.dns1123_label(name + "-") != []


@pytest.mark.parametrize(
    ("key", "messages"),
    [
        ("a", 0), ("a.b/c", 0), ("a.b/C_d.e", 0), ("", 2), ("a/", 2), ("/a", 1), ("a/b/c", 1), ("A.b/c", 1), ("a b", 1), ("-a", 1),
        ("a" * 64, 1), ("x" * 254 + "/a", 1),
    ],
)  # fmt: skip
def test_qualified_names(key: str, messages: int) -> None:
    assert len(names.qualified_name(key)) == messages


def test_port_names_are_told_everything_that_is_wrong() -> None:
    assert names.port_name("http-2") == []
    assert names.port_name("1--") == [
        "must contain at least one letter (a-z)", "must not contain consecutive hyphens", "must not begin or end with a hyphen",
    ]  # fmt: skip


def test_config_keys_are_file_names() -> None:
    assert names.config_key("a.B_c-1") == []
    assert [names.config_key(key)[-1] for key in (".", "..", "..x")] == [
        "must not be '.'",
        "must not be '..'",
        "must not start with '..'",
    ]
    assert "a valid config key" in names.config_key("a b")[0]


def test_rbac_names_can_stand_in_a_path() -> None:
    assert names.path_segment("system:Node") == []
    assert names.path_segment("..") == ["may not be '..'"]
    assert names.path_segment("a/b%") == ["may not contain '/'", "may not contain '%'"]
