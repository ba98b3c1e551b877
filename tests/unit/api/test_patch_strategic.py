"""Strategic merge patch: merge keys, directives, order, and its errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.errors import StatusError
from pilothouse.api.patch import apply_strategic_merge, decode_strategic_merge
from pilothouse.api.patch.convert import conversion_problem, patch_invalid
from pilothouse.api.schema import Schema
from pilothouse.api.tables import schema_for

POD = schema_for("", "v1", "Pod")
DEPLOYMENT = schema_for("apps", "v1", "Deployment")
CONFIG_MAP = schema_for("", "v1", "ConfigMap")


def containers(*names: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": n, "image": n} for n in names]}}


def names_after(doc: dict[str, Any], patch: list[dict[str, Any]], **more: Any) -> list[str]:
    out = apply_strategic_merge(doc, {"spec": {"containers": patch, **more}}, POD)
    return [c["name"] for c in out["spec"]["containers"]]


def test_elements_with_the_same_key_merge() -> None:
    out = apply_strategic_merge(containers("a", "b"), {"spec": {"containers": [{"name": "b", "image": "new"}]}}, POD)
    assert out == {"spec": {"containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "new"}]}}


def test_new_elements_come_first() -> None:
    assert names_after(containers("a", "b"), [{"name": "z"}]) == ["z", "a", "b"]


def test_elements_of_the_patch_come_in_its_order_and_the_others_stay_near_their_place() -> None:
    assert names_after(containers("z", "a", "b"), [{"name": "b"}, {"name": "a"}]) == ["z", "b", "a"]


def test_set_element_order_decides_the_order() -> None:
    order = {"$setElementOrder/containers": [{"name": "x"}, {"name": "b"}, {"name": "a"}]}
    assert names_after(containers("a", "b"), [{"name": "x"}], **order) == ["x", "b", "a"]


def test_set_element_order_alone_reorders() -> None:
    out = apply_strategic_merge(
        containers("a", "b", "c"), {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}, POD
    )
    assert [c["name"] for c in out["spec"]["containers"]] == ["b", "c", "a"]


def test_delete_removes_elements_and_ignores_missing_ones() -> None:
    assert names_after(containers("a", "b"), [{"name": "b", "$patch": "delete"}, {"name": "none", "$patch": "delete"}]) == ["a"]


def test_replace_replaces_a_list_wherever_it_stands() -> None:
    assert names_after(containers("a", "b"), [{"name": "q"}, {"$patch": "replace"}]) == ["q"]


def test_replace_and_delete_act_on_objects() -> None:
    doc = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    replaced = apply_strategic_merge(doc, {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}, DEPLOYMENT)
    assert replaced["spec"]["strategy"] == {"type": "Recreate"}
    assert apply_strategic_merge(doc, {"spec": {"$patch": "delete"}}, DEPLOYMENT) == {"spec": {}}


def test_retain_keys_drops_the_others() -> None:
    doc = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    out = apply_strategic_merge(doc, {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}, DEPLOYMENT)
    assert out["spec"]["strategy"] == {"type": "Recreate"}


def test_retain_keys_must_name_what_the_patch_sets() -> None:
    with pytest.raises(StatusError, match="retainKeys"):
        apply_strategic_merge({"spec": {}}, {"spec": {"$retainKeys": ["a"], "b": 1}}, DEPLOYMENT)


def test_primitive_lists_merge_as_sets_and_lose_what_is_deleted() -> None:
    doc = {"metadata": {"finalizers": ["x/4", "x/1", "x/3"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/1", "none"], "finalizers": ["x/9", "x/9"]}}
    assert apply_strategic_merge(doc, patch, CONFIG_MAP) == {"metadata": {"finalizers": ["x/9", "x/4", "x/3"]}}


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    doc = {"spec": {"tolerations": [{"key": "a"}]}}
    assert apply_strategic_merge(doc, {"spec": {"tolerations": [{"key": "b"}]}}, POD) == {"spec": {"tolerations": [{"key": "b"}]}}


def test_null_removes_and_directives_without_an_object_do_nothing() -> None:
    doc = {"data": {"k": "v"}}
    assert apply_strategic_merge(doc, {"data": None, "binaryData": {"$patch": "delete"}}, CONFIG_MAP) == {"binaryData": {}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ([{"image": "x"}], "map: map[image:x] does not contain declared merge key: name"),
        ([{"name": "a", "$patch": "wrong"}], "unknown patch type: wrong in map: map[$patch:wrong name:a]"),
        ([{"name": "a", "$patch": True}], "unknown patch type: %!s(bool=true) in map: map[$patch:true name:a]"),
        (["a"], "list element types are not identical: [[map[image:a name:a]] [a]]"),
        ([None], "list element types are not identical: [[map[image:a name:a]] [<nil>]]"),
    ],
)
def test_patches_that_make_no_sense_are_bad_requests(patch: list[Any], message: str) -> None:
    with pytest.raises(StatusError) as refused:
        names_after(containers("a"), patch)
    assert (refused.value.code, refused.value.message) == (400, message)


def test_an_order_for_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(StatusError, match='unable to find api field in struct Deployment for the json field "x"'):
        apply_strategic_merge({}, {"$setElementOrder/x": ["a"]}, DEPLOYMENT)


@pytest.mark.parametrize("body", [b"[]", b"5", b"", b"{"])
def test_bodies_that_are_no_object_are_bad_requests(body: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        decode_strategic_merge(body)
    assert refused.value.code == 400


def test_a_null_body_changes_nothing() -> None:
    assert decode_strategic_merge(b"null") == {}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"spec": "x"}, "cannot restore struct from: string"),
        ({"spec": []}, "cannot restore struct from: slice"),
        ({"spec": {"containers": "x"}}, "cannot restore slice from string"),
        ({"metadata": {"labels": []}}, "cannot restore map from slice"),
        ({"metadata": {"labels": {"a": {"b": "c"}}}}, "unrecognized type: string"),
        ({"metadata": {"name": 5}}, "cannot convert int64 to string"),
        ({"spec": {"activeDeadlineSeconds": 2.5}}, "cannot convert float64 to int64"),
        ({"spec": {"priority": "3"}}, "unrecognized type: int32"),
        ({"spec": {"containers": [{"name": "a", "args": None}]}}, None),
    ],
)
def test_values_of_the_wrong_type_are_found(value: dict[str, Any], problem: str | None) -> None:
    assert conversion_problem(value, POD) == problem


def test_the_answer_to_a_wrong_type_shows_the_patch() -> None:
    status = patch_invalid("map[spec:x]", "cannot restore struct from: string").status()
    assert status["message"] == ' "" is invalid: patch: Invalid value: "map[spec:x]": cannot restore struct from: string'
    assert status["details"]["causes"][0]["field"] == "patch"


# --- properties -----------------------------------------------------------------------------------------------------------------

_item = Schema("object", required=frozenset({"name"}), fields={"name": Schema("string"), "v": Schema("integer")})
_schema = Schema(
    "object",
    name="x.Thing",
    fields={
        "items": Schema("list", items=_item, patch_strategy=frozenset({"merge"}), patch_key="name"),
        "words": Schema("list", items=Schema("string"), patch_strategy=frozenset({"merge"})),
        "map": Schema("map", items=Schema("string")),
    },
)
_items = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcde"), "v": st.integers(0, 9)}), max_size=4, unique_by=lambda i: i["name"]
)
_things = st.fixed_dictionaries(
    {},
    optional={
        "items": _items,
        "words": st.lists(st.sampled_from("vwxyz"), max_size=4, unique=True),
        "map": st.dictionaries(st.sampled_from("kl"), st.sampled_from("12")),
    },
)


@given(_things, _things)
def test_merging_twice_is_merging_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy(doc)
    once = apply_strategic_merge(doc, patch, _schema)
    assert apply_strategic_merge(once, patch, _schema) == once
    assert doc == before


@given(_things, _things)
def test_every_element_of_the_patch_is_in_the_result_and_none_of_the_document_is_lost(
    doc: dict[str, Any], patch: dict[str, Any]
) -> None:
    out = apply_strategic_merge(doc, patch, _schema)
    names = [i["name"] for i in out.get("items", [])]
    assert sorted(names) == sorted({i["name"] for t in (doc, patch) for i in t.get("items", [])})
    assert sorted(out.get("words", [])) == sorted({w for t in (doc, patch) for w in t.get("words", [])})
    wanted = [i["name"] for i in patch.get("items", [])]
    assert [n for n in names if n in wanted] == wanted
