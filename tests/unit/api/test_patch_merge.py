"""JSON Merge Patch: RFC 7386, its own examples and its properties."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.errors import StatusError
from pilothouse.api.patch import apply_merge_patch, decode_merge_patch


@pytest.mark.parametrize(
    ("doc", "patch", "want"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc(doc: dict[str, Any], patch: dict[str, Any], want: dict[str, Any]) -> None:
    assert apply_merge_patch(doc, patch) == want


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b"", b"{", b'"x"', b"{} trailing"])
def test_bodies_that_are_no_object_are_bad_requests(body: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        decode_merge_patch(body)
    assert refused.value.code == 400


_values = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2), lambda v: st.dictionaries(st.sampled_from("abc"), v, max_size=3), max_leaves=8
)
_docs = st.dictionaries(st.sampled_from("abc"), _values, max_size=3)
_nulls = st.recursive(
    st.none() | st.integers(0, 3), lambda v: st.dictionaries(st.sampled_from("abc"), v, max_size=3), max_leaves=8
)  # fmt: skip
_patches = st.dictionaries(st.sampled_from("abc"), _nulls, max_size=3)


@given(_docs, _patches)
def test_merging_twice_is_merging_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy(doc)
    once = apply_merge_patch(doc, patch)
    assert apply_merge_patch(once, patch) == once
    assert doc == before


def _difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {k: None for k in a if k not in b}
    for k, v in b.items():
        if isinstance(v, dict) and isinstance(a.get(k), dict):
            out[k] = _difference(a[k], v)
        elif a.get(k) != v:
            out[k] = v
    return out


@given(_docs, _docs)
def test_the_difference_of_two_documents_makes_one_from_the_other(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert apply_merge_patch(a, _difference(a, b)) == b
