"""YAML as Kubernetes reads it, and apply configurations written in it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.apply.config import decode_configuration
from pilothouse.api.errors import StatusError
from pilothouse.api.yamltext import YamlError, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("n", False), ("'on'", "on"), ("Off", False), ("~", None), ("", None), ("5", 5), ("1.0", 1), ("1.5", 1.5), ("1e3", 1000),
        ("0x1F", 31), ("0b11", 3), ("017", 15), ("0o17", 15), ("1_000", 1000), ("-3", -3), ("1:30", "1:30"), ("2001-01-01", "2001-01-01"),
        ("1.2.3", "1.2.3"), ("08", 8), ("[a, 1]", ["a", 1]), ("{n: 4}", {"false": 4}), ("{1: a, ~: b}", {"1": "a", "null": "b"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}), ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: 1\n---\nb: 2", {"a": 1}),
    ],
)  # fmt: skip
def test_words_mean_what_they_mean_to_kubernetes(text: str, value: Any) -> None:
    found, repeated = load(text.encode())
    assert (found, type(found), repeated) == (value, type(value), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b", "yaml: line 1: did not find expected ',' or ']'"),
        ("a: b\nc:\n\td: e\n", "yaml: line 3: found character that cannot start any token"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, message: str) -> None:
    with pytest.raises(YamlError) as wrong:
        load(text.encode())
    assert str(wrong.value) == message


def test_anchors_cannot_make_a_text_explode() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(YamlError, match="excessive aliasing"):
        load("\n".join(lines).encode())


def test_an_anchor_may_not_contain_itself() -> None:
    with pytest.raises(YamlError):
        load(b"a: &a [*a]")


def test_keys_given_twice_are_told_or_refused() -> None:
    body = b"a: 1\ndata: {k: v,\n  k: w}\n"
    assert decode_configuration(body, "Warn") == ({"a": 1, "data": {"k": "w"}}, ['line 3: key "k" already set in map'])
    assert decode_configuration(body, "Ignore") == ({"a": 1, "data": {"k": "w"}}, [])
    with pytest.raises(StatusError, match='unmarshal errors:\n  line 3: key "k" already set in map'):
        decode_configuration(body, "Strict")
    assert decode_configuration(b'{"a":1,"a":2}') == ({"a": 2}, ['line 1: key "a" already set in map'])


@pytest.mark.parametrize("body", [b"[]", b"x", b"5", b"a: [b"])
def test_what_is_no_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        decode_configuration(body)
    assert refused.value.code == 400


def test_an_empty_body_is_an_empty_configuration() -> None:
    assert decode_configuration(b"") == decode_configuration(b"null") == ({}, [])


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5), st.lists, max_leaves=5),
    )
)
def test_json_is_read_as_json(value: dict[str, Any]) -> None:
    assert decode_configuration(orjson.dumps(value)) == (value, [])
