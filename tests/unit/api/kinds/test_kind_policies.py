"""Admission policies and their bindings: what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

GROUP = "admissionregistration.k8s.io"
mutating = Kind(GROUP, "v1", "mutatingadmissionpolicies")
validating = Kind(GROUP, "v1", "validatingadmissionpolicies")
bindings = Kind(GROUP, "v1", "mutatingadmissionpolicybindings")

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
CONSTRAINTS = {"resourceRules": [RULE]}


def wrong(mutation: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    """What is wrong with a mutating policy."""
    base = {"matchConstraints": CONSTRAINTS, "reinvocationPolicy": "Never", "mutations": [mutation or applied("Object{}")]}
    return [text.removeprefix("spec.") for text in mutating.wrong({"spec": base | spec})]


def applied(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def test_what_a_mutating_policy_must_say_is_asked_for() -> None:
    assert mutating.wrong({"spec": {}}) == [
        "spec.matchConstraints: Required value",
        "spec.mutations: Required value: mutations must contain at least one item",
        "spec.reinvocationPolicy: Required value",
    ]


@pytest.mark.parametrize(
    ("mutation", "told"),
    [
        ({"patchType": "X"}, 'patchType: Unsupported value: "X": supported values: "ApplyConfiguration", "JSONPatch"'),
        ({"patchType": "JSONPatch"}, "jsonPatch: Required value: must be specified when patchType is JSONPatch"),
        (applied(""), "applyConfiguration.expression: Required value"),
        (applied("1"), 'applyConfiguration.expression: Invalid value: "1": must evaluate to Object but got int'),
        (applied("{}"), 'applyConfiguration.expression: Invalid value: "{}": must evaluate to Object but got map(dyn, dyn)'),
        (applied("object"), 'applyConfiguration.expression: Invalid value: "object": must evaluate to Object but got dyn'),
        (patch("[]"), 'jsonPatch.expression: Invalid value: "[]": must evaluate to list(JSONPatch) but got list(dyn)'),
    ],
)
def test_a_mutation_evaluates_to_what_its_type_of_patch_needs(mutation: dict[str, Any], told: str) -> None:
    assert wrong(mutation) == [f"mutations[0].{told}"]


def test_fields_of_a_patch_have_their_types_and_parts_of_an_object_any() -> None:
    assert wrong(applied("Object{spec: Object.spec{x: 1, y: [Object.spec.y{z: 'a'}]}}")) == []
    assert wrong(patch("has(object.x) ? [JSONPatch{op: 'add', path: '/x', value: {'a': 1}}] : []")) == []
    [told] = wrong(patch("[JSONPatch{op: 'add', path: 3}]"))
    assert "<input>:1:27: expected type of field 'path' is 'string' but provided type is 'int'" in told


def test_nothing_is_changed_in_what_is_deleted() -> None:
    told = 'operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"'
    rules = {"resourceRules": [{**RULE, "operations": ["DELETE"]}]}
    assert wrong(matchConstraints=rules) == [f"matchConstraints.resourceRules.{told}"]
    found = bindings.wrong({"spec": {"policyName": "p", "matchResources": rules}})
    assert found == [f"spec.matchResources.resourceRules.{told}"]


def test_the_kind_of_parameters_is_a_kind_of_a_version() -> None:
    assert wrong(paramKind={}) == ["paramKind.apiVersion: Required value", "paramKind.kind: Required value"]
    assert wrong(paramKind={"apiVersion": "a/b/c", "kind": "K"}) == [
        'paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'
    ]


def test_audit_annotations_are_named_after_their_policy_once_each() -> None:
    audit = {"key": "k", "valueExpression": "'x'"}
    spec = {"matchConstraints": CONSTRAINTS, "auditAnnotations": [audit, audit]}
    assert validating.wrong({"spec": spec}) == ['spec.auditAnnotations[1].key: Duplicate value: "k"']
    [told] = validating.wrong({"spec": {**spec, "auditAnnotations": [{**audit, "key": "b k"}]}})
    assert told.startswith('spec.auditAnnotations[0].key: Invalid value: "a/b k": name part must consist of')


def test_a_policy_that_validates_cannot_write_out_objects() -> None:
    rule = {"expression": "Object{} == object"}
    [told] = validating.wrong({"spec": {"matchConstraints": CONSTRAINTS, "validations": [rule]}})
    assert "undeclared reference to 'Object'" in told
