"""Validation rules of custom resources: what an object and a definition are told."""

from __future__ import annotations

from typing import Any

from pilothouse.api.cel.rule_checks import rule_errors
from pilothouse.api.cel.rules import checker
from pilothouse.api.errors import FieldError


def schema(spec: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": spec, "x-kubernetes-validations": list(rules)}},
    }


def check(openapi: dict[str, Any], spec: Any, old: Any = None) -> list[tuple[str, str]]:
    run = checker(openapi)
    assert run is not None
    return [(e.field, e.detail) for e in run({"spec": spec}, None if old is None else {"spec": old})]


INT = {"type": "integer"}
LIMITS = schema({"min": INT, "max": INT}, {"rule": "self.min <= self.max", "message": "min must not be above max"})


def test_a_rule_that_fails_says_its_message() -> None:
    assert check(LIMITS, {"min": 3, "max": 2}) == [("spec", "min must not be above max")]
    assert check(LIMITS, {"min": 1, "max": 2}) == []


def test_a_rule_without_a_value_says_why() -> None:
    assert check(LIMITS, {"min": 3}) == [("spec", "no such key: max evaluating rule: min must not be above max")]


def test_a_transition_rule_waits_for_an_old_value() -> None:
    openapi = schema({"im": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}})
    assert check(openapi, {"im": "x"}) == []
    assert check(openapi, {"im": "y"}, {"im": "x"}) == [("spec.im", "failed rule: self == oldSelf")]


def test_an_optional_old_value_is_asked_on_create_too() -> None:
    rule = {"rule": "oldSelf.hasValue() || self == 'start'", "optionalOldSelf": True, "message": "must start at start"}
    openapi = schema({"first": {"type": "string", "x-kubernetes-validations": [rule]}})
    assert check(openapi, {"first": "later"}) == [("spec.first", "must start at start")]
    assert check(openapi, {"first": "later"}, {"first": "start"}) == []


def test_items_of_a_map_list_are_compared_by_their_keys() -> None:
    item = {
        "type": "object",
        "properties": {"k": {"type": "string"}, "v": INT | {"x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}},
    }
    openapi = schema(
        {"lm": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}
    )
    new = {"lm": [{"k": "n", "v": 1}, {"k": "p", "v": 2}]}
    assert check(openapi, new, {"lm": [{"k": "p", "v": 3}]}) == [("spec.lm[1].v", "failed rule: self >= oldSelf")]


def test_what_did_not_change_is_not_checked_again() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "self.x != 'bad'"}]}
    openapi = schema({"o": inner, "b": {"type": "string"}})
    assert check(openapi, {"o": {"x": "bad"}, "b": "2"}, {"o": {"x": "bad"}, "b": "1"}) == []
    assert check(openapi, {"o": {"x": "bad"}, "b": "2"}) == [("spec.o", "failed rule: self.x != 'bad'")]


def test_a_message_expression_words_the_error_at_its_field_path() -> None:
    rule = {
        "rule": "self.a > 1",
        "messageExpression": "'a is ' + string(self.a)",
        "fieldPath": ".a",
        "reason": "FieldValueForbidden",
    }
    run = checker(schema({"a": INT}, rule))
    assert run is not None
    [error] = run({"spec": {"a": 1}}, None)
    assert (error.type, error.field, error.detail) == ("FieldValueForbidden", "spec.a", "a is 1")


def wrong(spec: dict[str, Any], *rules: dict[str, Any]) -> list[tuple[str, str]]:
    errors: list[FieldError] = rule_errors(schema(spec, *rules), "$")
    return [(e.field.removeprefix("$.properties[spec]."), e.detail) for e in errors]


def test_a_rule_must_be_a_condition_that_compiles() -> None:
    at = "x-kubernetes-validations[0].rule"
    assert wrong({"a": INT}, {"rule": " "}) == [(at, "rule is not specified")]
    assert wrong({"a": INT}, {"rule": "self.a"}) == [(at, "cel expression must evaluate to a bool")]
    shown = "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z > 1\n | ....^"
    assert wrong({"a": INT}, {"rule": "self.z > 1"}) == [(at, shown)]


def test_the_old_value_of_plain_list_items_cannot_be_asked() -> None:
    items = INT | {"x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    told = "oldSelf cannot be used on the uncorrelatable portion of the schema within $.properties[spec].properties[l]"
    assert wrong({"l": {"type": "array", "items": items}}) == [("properties[l].items.x-kubernetes-validations[0].rule", told)]


def test_the_words_around_a_rule_are_checked() -> None:
    at = "x-kubernetes-validations[0]"
    good = {"rule": "self.a > 1"}
    assert wrong({"a": INT}, good | {"fieldPath": ".missing"}) == [(f"{at}.fieldPath", "must be a valid path")]
    assert wrong({"a": INT}, good | {"message": "a\nb"}) == [(f"{at}.message", "must not contain line breaks")]
    assert wrong({"a": INT}, good | {"messageExpression": "1"}) == [
        (f"{at}.messageExpression", "messageExpression must evaluate to a string")
    ]
    assert wrong({"a": INT}, good | {"optionalOldSelf": True}) == [
        (f"{at}.optionalOldSelf", "may not be set if oldSelf is not used in rule")
    ]
    assert [p for p, _ in wrong({"a": INT}, good | {"reason": "Bogus"})] == [f"{at}.reason"]


def test_items_of_a_list_that_did_not_change_are_not_checked_again() -> None:
    items = {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'"}]}
    openapi = schema({"l": {"type": "array", "items": items}, "b": {"type": "string"}})
    assert check(openapi, {"l": ["bad"], "b": "2"}, {"l": ["bad"], "b": "1"}) == []
    assert check(openapi, {"l": ["bad", "x"]}, {"l": ["bad"]}) == [("spec.l[0]", "failed rule: self != 'bad'")]


def test_a_default_must_keep_the_rules_of_its_schema() -> None:
    rule = {"rule": "self != 'bad'", "message": "default is bad"}
    assert wrong({"b": {"type": "string", "default": "bad", "x-kubernetes-validations": [rule]}}) == [
        ("properties[b].default", "default is bad")
    ]
    assert wrong({"b": {"type": "string", "default": "ok", "x-kubernetes-validations": [rule]}}) == []
