"""Label and field selectors: text and objects mean the same, and wrong ones are refused in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import selectors

keys = st.sampled_from(["a", "b", "app", "example.com/tier"])
values = st.sampled_from(["", "x", "y", "web-1"])
labels = st.dictionaries(keys, values, max_size=4)
expressions = st.one_of(
    st.fixed_dictionaries(
        {"key": keys, "operator": st.sampled_from(["In", "NotIn"]), "values": st.lists(values, min_size=1, max_size=3)}
    ),
    st.fixed_dictionaries({"key": keys, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
objects = st.fixed_dictionaries(
    {"matchLabels": st.dictionaries(keys, values, max_size=2), "matchExpressions": st.lists(expressions, max_size=3)}
)


def matches(text: str, labels: dict[str, str]) -> bool:
    return selectors.text_predicate(text)(labels)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app!=web", False), ("app", True), ("!app", False), ("!nope", True), ("nope", False),
        ("app in (db,web)", True), ("app in (db)", False), ("app notin (db)", True), ("nope notin (db)", True), ("nope!=x", True), ("nope=", False),
        ("app=web,tier", True), ("app=web,tier=b", False), (" app = web , tier in ( a ) ", True), ("n>3", True), ("n<3", False), ("n>5", False),
        ("app>1", False), ("empty=", True), ("empty in ()", True), ("in in (x)", False),
    ],
)  # fmt: skip
def test_every_form_of_requirement(text: str, expected: bool) -> None:
    assert matches(text, {"app": "web", "tier": "a", "n": "5", "empty": ""}) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,", "found '', expected: identifier after ','"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=(b)", "unable to parse requirement: found '(', expected: identifier"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_text_that_is_no_selector_is_refused_where_it_goes_wrong(text: str, message: str) -> None:
    with pytest.raises(selectors.SelectorError) as caught:
        selectors.parse_label_selector(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["-a=b", "a=-b", "a/b/c=d", "a=" + "x" * 64, "A.b/c"])
def test_keys_and_values_must_be_labels(text: str) -> None:
    with pytest.raises(selectors.SelectorError, match="Invalid value"):
        selectors.parse_label_selector(text)


@given(objects, labels)
def test_an_object_and_its_text_select_the_same(selector: dict[str, Any], labels: dict[str, str]) -> None:
    text = selectors.selector_text(selector)
    assert matches("" if text == "<none>" else text, labels) == selectors.label_predicate(selector)(labels)


@given(objects, labels)
def test_an_object_selects_what_each_of_its_requirements_selects(selector: dict[str, Any], labels: dict[str, str]) -> None:
    parts = [{"matchLabels": {k: v}} for k, v in selector["matchLabels"].items()]
    parts += [{"matchExpressions": [e]} for e in selector["matchExpressions"]]
    assert selectors.label_predicate(selector)(labels) == all(selectors.label_predicate(p)(labels) for p in parts)


@given(labels)
def test_no_selector_selects_nothing_and_an_empty_one_everything(labels: dict[str, str]) -> None:
    assert not selectors.label_predicate(None)(labels)
    assert selectors.label_predicate({})(labels)


def test_wrong_objects_are_told_field_by_field() -> None:
    selector = {
        "matchLabels": {"a b": "c"},
        "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "", "operator": "Is"},
        ],
    }
    found = [(e.field, e.type) for e in selectors.validate_label_selector(selector, "spec.selector")]
    assert found[:4] == [
        ("spec.selector.matchLabels", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[0].values", "FieldValueRequired"),
        ("spec.selector.matchExpressions[1].values", "FieldValueForbidden"),
        ("spec.selector.matchExpressions[2].operator", "FieldValueInvalid"),
    ]


def test_field_selectors_take_equality_and_escapes() -> None:
    found = selectors.parse_field_selector(r"metadata.name=a\,b,spec.nodeName!=n,x==y")
    assert [(r.key, r.operator, r.values) for r in found] == [
        ("metadata.name", "=", ("a,b",)), ("spec.nodeName", "!=", ("n",)), ("x", "=", ("y",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    ],
)
def test_wrong_field_selectors_are_refused(text: str, message: str) -> None:
    with pytest.raises(selectors.SelectorError) as caught:
        selectors.parse_field_selector(text)
    assert str(caught.value) == message


def test_a_field_predicate_takes_absent_fields_as_empty() -> None:
    wanted = selectors.field_predicate(selectors.parse_field_selector("spec.nodeName=,status.phase!=Failed"), lambda pod: pod)
    assert wanted({})
    assert not wanted({"spec.nodeName": "n"})
    assert not wanted({"status.phase": "Failed"})
