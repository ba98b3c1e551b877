"""YAML as the JSON that it stands for; what stands for none is an error of one line, whatever tags it carries."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import yamltext


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 9223372036854775807", {"a": 9223372036854775807}),
        ("a: 1180591620717411303424", {"a": 1180591620717411303424.0}),
        ("a: 1e5", {"a": 100000}),
        ("a: 1e20", {"a": 1e20}),
        ("a: 2001-01-01", {"a": "2001-01-01"}),
        ("a: .inf", {"a": ".inf"}),
        ("!!binary eA==", "x"),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = yamltext.load(text.encode())[0]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "!!timestamp 9999-99-99",
        "!!int x",
        "!!float .inf",
        "!!binary x",
        "a: " + "9" * 4000,
        "a: " + "9" * 5000,
        "- " * 5000 + "x",
        "{" * 5000,
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_value_is_an_error(text: str) -> None:
    with pytest.raises(yamltext.YamlError, match=r"\A[^\n]+\Z"):
        yamltext.load(text.encode())
