"""What holds for every structural schema and every value."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.apply.conform import conforms
from pilothouse.api.cel.sizes import bounds_of
from pilothouse.api.crd.defaults import defaulter
from pilothouse.api.crd.structural import node, pruner
from pilothouse.api.crd.structure import schema_errors
from pilothouse.api.crd.validation import NOTHING, validator
from pilothouse.api.errors import FieldError
from pilothouse.api.normalize import Findings

NAMES = st.sampled_from(["a", "b", "c", "x-y"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3) | st.floats(-2, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
SCALARS = st.one_of(
    st.fixed_dictionaries({"type": st.just("string")}, optional={"maxLength": st.integers(0, 3), "nullable": st.booleans(), "default": st.just("b")}),
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": st.integers(-5, 5), "default": st.just(5)}),
    st.just({"type": "boolean"}),
    st.just({"x-kubernetes-int-or-string": True}),
    st.just({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
)  # fmt: skip
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"maxItems": st.integers(0, 3)}),
        st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": inner}),
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)}),
    ),
    max_leaves=6,
)


def pruned(schema: dict[str, Any], value: Any) -> tuple[Any, bool]:
    findings = Findings()
    return pruner(node(schema))(value, findings), findings.unknown


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    out = copy.deepcopy(value)
    fill = defaulter(schema)
    if fill is not None:
        fill(out)
    return out


def errors(schema: dict[str, Any], value: Any, old: Any = NOTHING) -> list[FieldError]:
    out: list[FieldError] = []
    validator(schema)(value, "f", old, out)
    return out


@given(SCHEMAS, VALUES)
def test_what_was_pruned_has_no_unknown_fields_and_is_not_the_senders(schema: dict[str, Any], value: Any) -> None:
    sent = copy.deepcopy(value)
    out, _ = pruned(schema, value)
    assert value == sent
    assert pruned(schema, out) == (out, False)


@given(SCHEMAS, VALUES)
def test_defaults_are_filled_in_once_for_all(schema: dict[str, Any], value: Any) -> None:
    once = defaulted(schema, value)
    assert defaulted(schema, once) == once


@given(SCHEMAS, VALUES)
def test_what_did_not_change_is_never_complained_of(schema: dict[str, Any], value: Any) -> None:
    assert not errors(schema, value, old=copy.deepcopy(value))


@given(SCHEMAS, VALUES)
def test_a_good_value_without_unknown_fields_can_be_owned_field_by_field(schema: dict[str, Any], value: Any) -> None:
    out, _ = pruned(schema, value)
    if not errors(schema, out):
        assert conforms(node(schema), out)


@given(SCHEMAS)
def test_the_schemas_of_these_tests_are_structural_and_bounded(schema: dict[str, Any]) -> None:
    whole = {"type": "object", "properties": {"spec": schema}}
    assert not [e for e in schema_errors(whole, "s") if "default" not in e.field]
    assert bounds_of(whole, root=True) is not None


@given(st.recursive(st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab[(", max_size=3),
                    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
                        st.sampled_from(["pattern", "title", "format", "enum", "example", "default"]), inner, max_size=4)))  # fmt: skip
def test_no_default_and_no_pattern_makes_the_check_of_a_schema_fail(junk: Any) -> None:
    field = {"type": "string", "default": junk, "enum": [junk], "pattern": junk if isinstance(junk, str) else ""}
    assert isinstance(schema_errors({"type": "object", "properties": {"spec": field}}, "s"), list)
