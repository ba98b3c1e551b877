"""What rules may cost: by estimate when a definition is written, and when they run."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.cel import rules
from pilothouse.api.cel.declarations import type_of
from pilothouse.api.cel.errors import CostExceeded
from pilothouse.api.cel.program import compile_expression
from pilothouse.api.cel.rule_checks import rule_errors
from pilothouse.api.cel.rules import checker
from pilothouse.api.cel.sizes import bounds_of
from pilothouse.api.cel.types import DYN

ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
)


def array(type: str, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": type}, **more}


def mapping(type: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": type}, **more}


def text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


@pytest.mark.parametrize(
    ("schema", "rule", "most"),
    [
        (array("number"), "self.all(x, true)", 4718591),
        (array("number", maxItems=10), "self.all(x, true)", 32),
        (array("string"), "self.all(x, true)", 3145727),
        (array("boolean", maxItems=5), "self.all(x, true)", 17),
        (mapping("number"), "self.all(x, true)", 1348169),
        (mapping("number", maxProperties=10), "self.all(x, true)", 32),
        (text(), "self.contains('test')", 314574),
        (text(maxLength=10), "self.contains('test')", 2),
        (text(enum=["a", "abc"]), "self == 'x'", 2),
        ({"type": "integer"}, "self == oldSelf", 2),
        ({"type": "object", "properties": {"a": text()}}, "self == oldSelf", 2),
        ({"type": "object", "properties": {"a": text()}}, "has(self.a)", 1),
        (text(maxLength=100), "self.matches('^[a-z]{1,8}$')", 1 + 11 * 3),
        (array("string", maxItems=4), "size(self.map(x, x)) == 4", 1 + 11 + 4 * 13 + 1 + 1),
        (array("string", maxItems=4), "size(self.filter(x, x == 'a')) < 9", 1 + 11 + 4 * (2 + 13) + 1 + 1),
        (text(maxLength=20), "self.replace('a', 'bc').size() > 3", 1 + 4 + 1 + 1),
    ],
)
def test_a_cost_is_estimated_from_what_the_schema_allows(schema: dict[str, Any], rule: str, most: int) -> None:
    kind, bounds = type_of(schema), bounds_of(schema)
    assert kind is not None
    assert compile_expression(rule, {"self": kind, "oldSelf": kind}, bounds=bounds).cost == most


@pytest.mark.parametrize(
    ("schema", "rule", "value"),
    [
        (array("integer"), "self.all(x, x > 0)", [1, 2, 3]),
        (array("integer"), "self.exists(x, x == 3)", [1, 2, 3]),
        (array("integer"), "self.exists_one(x, x == 3)", [1, 2, 3]),
        (array("string"), "self.map(x, x + 'y') == ['ay', 'by']", ["a", "b"]),
        (array("string"), "self.filter(x, x.startsWith('a')).size() == 1", ["a", "b"]),
        (mapping("string"), "self.transformMap(k, v, v + k).size() == 2", {"a": "1", "b": "2"}),
        (text(), "self.split(',').all(y, y.matches('^[a-z]$'))", "a,b,c"),
        (text(), "self.find('[0-9]+') == '12' || self.lowerAscii() == 'x'", "a12"),
        ({"type": "object", "properties": {"a": text()}}, "!has(self.a) || self.?a.orValue('') != 'b'", {"a": "x"}),
    ],
)
def test_no_run_costs_more_than_the_estimate(schema: dict[str, Any], rule: str, value: Any) -> None:
    kind, bounds = type_of(schema), bounds_of(schema)
    assert kind is not None
    program = compile_expression(rule, {"self": kind}, bounds=bounds)
    good, cost = program.evaluate({"self": value})
    assert good is True
    assert 0 < cost <= program.cost


def ruled(schema: dict[str, Any], *rules: str, **more: str) -> dict[str, Any]:
    return {**schema, "x-kubernetes-validations": [{"rule": rule, **more} for rule in rules]}


def of_field(schema: dict[str, Any]) -> list[str]:
    return [str(e) for e in rule_errors({"type": "object", "properties": {"f": schema}}, "s")]


def test_a_rule_that_may_cost_too_much_is_told_by_how_much() -> None:
    pairs = "self.all(x, self.exists_one(y, x == y))"
    rule = "s.properties[f].x-kubernetes-validations[0].rule: Forbidden"
    assert (
        of_field(ruled(array("string"), pairs))[0]
        == f"{rule}: estimated rule cost exceeds budget by factor of more than 100x {ADVICE}"
    )
    some = array("integer", maxItems=2000)
    assert of_field(ruled(some, pairs)) == [f"{rule}: estimated rule cost exceeds budget by factor of 1.6x {ADVICE}"]
    assert not of_field(ruled(array("integer", maxItems=500), pairs))


def test_a_rule_counts_as_often_as_there_can_be_values() -> None:
    inside = ruled(text(maxLength=1000), "self.contains('0123456789')")
    assert not of_field({"type": "array", "items": inside, "maxItems": 100})
    assert "exceeds budget" in of_field({"type": "array", "items": inside})[0]
    assert "exceeds budget" in of_field({"type": "object", "additionalProperties": inside, "maxProperties": 200_000})[0]


def test_a_message_may_name_a_number() -> None:
    limits = {"type": "object", "properties": {"x": {"type": "integer"}, "most": {"type": "integer"}}}
    assert not of_field(ruled(limits, "self.x <= self.most", messageExpression="'x exceeded the limit of ' + string(self.most)"))


def test_a_message_expression_has_a_cost_of_its_own() -> None:
    told = of_field(ruled(array("string", maxItems=9), "true", messageExpression="self.map(x, x + x).join(',').replace('', 'y')"))
    assert told[0].startswith(
        "s.properties[f].x-kubernetes-validations[0].messageExpression: Forbidden: estimated messageExpression cost exceeds"
    )


def test_all_rules_together_may_cost_ten_times_what_one_may() -> None:
    told = of_field(ruled(array("integer"), *[f"self.all(x, x > {n})" for n in range(14)]))
    assert len(told) == 5
    assert told[0].endswith(
        "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema"
    )
    assert told[-1].startswith(
        "s: Forbidden: x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds"
    )


def test_rules_that_were_there_before_may_go_on_costing_too_much() -> None:
    schema = {
        "type": "object",
        "properties": {"f": ruled(array("integer", maxItems=2000), "self.all(x, self.exists_one(y, x == y))")},
    }
    assert rule_errors(schema, "s")
    assert not rule_errors(schema, "s", unchanged=True)


def run(schema: dict[str, Any], value: Any) -> list[str]:
    check = checker({"type": "object", "properties": {"f": schema}})
    assert check is not None
    return [e.message for e in check({"f": value}, None)]


def test_a_rule_that_costs_too_much_ends_the_check() -> None:
    told = run(ruled(array("integer"), "self.all(x, self.all(y, x == y))", "false"), [1] * 1000)
    assert told == [
        """Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call """
        "cost exceeds limit for rule: self.all(x, self.all(y, x == y))"
    ]


def test_rules_that_cost_too_much_together_end_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "REQUEST_BUDGET", 500)
    told = run(ruled(array("integer"), *["self.all(x, x > 0)"] * 5, "false"), [1] * 30)
    assert told == ["Invalid value: validation failed due to running out of cost budget, no further validation rules will be run"]


def test_arguments_of_the_wrong_type_are_told_with_the_rule() -> None:
    told = run(ruled({"x-kubernetes-int-or-string": True}, "self > 5"), "a")
    assert told == [
        """Invalid value: "": 'no such overload': call arguments did not match a supported operator, function or macro signature for """
        "rule: self > 5"
    ]


@pytest.mark.parametrize("expression", ["self", "[1, 2].all(x, x > 0)", "self == 1 || self == 2", "has(self.a) ? true : false"])
def test_an_expression_that_costs_one_more_than_it_may_is_cancelled(expression: str) -> None:
    program = compile_expression(expression, {"self": DYN})
    value = {"self": {"a": 1}} if "has" in expression else {"self": 2}
    cost = program.evaluate(value)[1]
    assert program.evaluate(value, cost)[1] == cost
    with pytest.raises(CostExceeded):
        program.evaluate(value, cost - 1)


def test_what_was_compiled_to_be_checked_is_run_for_every_schema_that_reads_the_same() -> None:
    one, other = array("integer", maxItems=3), array("integer", maxItems=4)
    kind = type_of(one)
    assert kind is not None
    checked = rules.Subject(one, kind, bounds_of(one)).program("self.all(x, x > 77)", wrap=False)
    assert rules.Subject(dict(one), kind).program("self.all(x, x > 77)", wrap=False) is checked
    assert rules.Subject(one, kind, root=True).program("self.all(x, x > 77)", wrap=False) is not checked
    assert rules.Subject(other, kind, bounds_of(other)).program("self.all(x, x > 77)", wrap=False).cost > checked.cost
