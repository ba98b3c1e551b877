"""JSON Patch: the operations of RFC 6902, the reference server's leniencies, and that nothing given is changed."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.errors import StatusError
from pilothouse.api.patch import apply_json_patch, decode_json_patch

DOC: dict[str, Any] = {"data": {"k": "v", "x": "y"}, "list": [1, 2, 3], "meta": {"a/b": "1", "m~n": "2"}}


def patched(*ops: dict[str, Any]) -> Any:
    return apply_json_patch(DOC, list(ops))


@pytest.mark.parametrize(
    ("op", "at", "want"),
    [
        ({"op": "add", "path": "/data/n", "value": "1"}, ("data", "n"), "1"),
        ({"op": "replace", "path": "/data/none", "value": "1"}, ("data", "none"), "1"),
        ({"op": "replace", "path": "/meta/a~1b", "value": "9"}, ("meta", "a/b"), "9"),
        ({"op": "replace", "path": "/meta/m~0n", "value": "9"}, ("meta", "m~n"), "9"),
        ({"op": "copy", "from": "/data/none", "path": "/data/n"}, ("data", "n"), None),
        ({"op": "copy", "from": "/data/k", "path": "/data/n"}, ("data", "n"), "v"),
        ({"op": "add", "path": "/list/-", "value": 4}, ("list",), [1, 2, 3, 4]),
        ({"op": "add", "path": "/list/0", "value": 0}, ("list",), [0, 1, 2, 3]),
        ({"op": "add", "path": "/list/-1", "value": 9}, ("list",), [1, 2, 3, 9]),
        ({"op": "remove", "path": "/list/-1"}, ("list",), [1, 2]),
        ({"op": "replace", "path": "/list/00", "value": 9}, ("list",), [9, 2, 3]),
        ({"op": "move", "from": "/list/0", "path": "/list/2"}, ("list",), [2, 3, 1]),
        ({"op": "add", "path": "/data/", "value": "1"}, ("data", ""), "1"),
        ({"op": "add", "path": "ignored/new", "value": "1"}, ("new",), "1"),
    ],
)
def test_operations_that_work(op: dict[str, Any], at: tuple[str, ...], want: Any) -> None:
    found = patched(op)
    for part in at:
        found = found[part]
    assert found == want


@pytest.mark.parametrize(
    "op",
    [
        {"op": "add", "path": "/none/a", "value": 1},
        {"op": "add", "path": "/data/k/deep", "value": 1},
        {"op": "add", "path": "", "value": "text"},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "remove", "path": "/data/none"},
        {"op": "remove", "path": "/list/-"},
        {"op": "remove", "path": ""},
        {"op": "remove", "path": "/"},
        {"op": "replace", "path": "/list/x", "value": 1},
        {"op": "move", "from": "/data/none", "path": "/data/m"},
        {"op": "move", "path": "/data/m"},
        {"op": "test", "path": "/list/0", "value": 1.0},
        {"op": "test", "path": "/data/k", "value": "w"},
        {"op": "jump", "path": "/data"},
        {"op": "add", "value": 1},
        {},
    ],
)
def test_what_cannot_be_carried_out_is_refused_without_detail(op: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as refused:
        patched(op)
    status = refused.value.status()
    assert (status["code"], status["reason"], status["details"]) == (422, "Invalid", {})


def test_a_failing_operation_leaves_the_document_as_it_was() -> None:
    before = copy.deepcopy(DOC)
    with pytest.raises(StatusError):
        patched({"op": "add", "path": "/data/one", "value": 1}, {"op": "remove", "path": "/data/none"})
    assert before == DOC


def test_the_whole_document_can_be_replaced_and_tested() -> None:
    assert patched({"op": "replace", "path": "", "value": {"q": 1}}, {"op": "test", "path": "", "value": {"q": 1}}) == {"q": 1}


def test_a_copy_is_independent_of_its_source() -> None:
    out = patched({"op": "copy", "from": "/data", "path": "/twin"}, {"op": "add", "path": "/twin/k", "value": "changed"})
    assert (out["data"]["k"], out["twin"]["k"]) == ("v", "changed")


def test_what_copies_may_add_is_bounded() -> None:
    big = {"a": "x" * 1_000_000}
    ops = [{"op": "copy", "from": "/a", "path": f"/{i}"} for i in range(4)]
    with pytest.raises(StatusError):
        apply_json_patch(big, ops)


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"5", b'"x"', b"[1]", b"[[]]", b'[{"op":5}]', b"[]x"])
def test_bodies_that_are_no_list_of_operations_are_bad_requests(body: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        decode_json_patch(body)
    assert refused.value.code == 400


def test_a_null_body_is_no_operation() -> None:
    assert decode_json_patch(b"null") == []


def test_too_many_operations_are_too_large() -> None:
    with pytest.raises(StatusError) as refused:
        decode_json_patch(orjson.dumps([{"op": "remove", "path": "/a"}] * 10_001))
    assert refused.value.code == 413


# --- properties -----------------------------------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=12,
)
_docs = st.dictionaries(st.sampled_from(["a", "b", "a/b", "~"]), _json, max_size=4)


def _pointer(parts: tuple[str, ...]) -> str:
    return "".join("/" + p.replace("~", "~0").replace("/", "~1") for p in parts)


def _diff(a: Any, b: Any, at: tuple[str, ...]) -> list[dict[str, Any]]:
    """A patch from a to b, member by member."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return [] if a == b and type(a) is type(b) else [{"op": "replace", "path": _pointer(at), "value": b}]
    ops = [{"op": "remove", "path": _pointer((*at, k))} for k in a if k not in b]
    ops += [{"op": "add", "path": _pointer((*at, k)), "value": v} for k, v in b.items() if k not in a]
    return ops + [op for k in a if k in b for op in _diff(a[k], b[k], (*at, k))]


@given(_docs, _docs)
def test_a_difference_carried_out_gives_the_other_document(a: dict[str, Any], b: dict[str, Any]) -> None:
    before = copy.deepcopy(a)
    assert apply_json_patch(a, _diff(a, b, ())) == b
    assert a == before


@given(_docs, st.sampled_from(["a", "b", "n"]), _json)
def test_adding_then_removing_a_new_member_is_nothing(doc: dict[str, Any], name: str, value: Any) -> None:
    doc.pop(name, None)
    ops = [{"op": "add", "path": f"/{name}", "value": value}, {"op": "test", "path": f"/{name}", "value": value},
           {"op": "remove", "path": f"/{name}"}]  # fmt: skip
    assert apply_json_patch(doc, ops) == doc
