"""ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings: admission decided by CEL expressions."""

from __future__ import annotations

from typing import Any

from pilothouse.api import selectors, table
from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


def param_kind(obj: Obj) -> str:
    """The kind of a policy's parameters."""
    kind = (obj.get("spec") or {}).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else table.UNSET


def param_ref(obj: Obj) -> str:
    """Where a binding's parameters are: a name, or a selector."""
    ref = (obj.get("spec") or {}).get("paramRef")
    if not ref:
        return table.UNSET
    if ref.get("name"):
        return f"{ref['namespace']}/{ref['name']}" if ref.get("namespace") else str(ref["name"])
    return selectors.go_text(ref.get("selector") or {})


def default_matching(matching: Obj | None) -> None:
    """What match rules mean where they do not say: equivalent resources, of any scope, whatever their labels."""
    if matching is None:
        return
    matching.setdefault("matchPolicy", "Equivalent")
    matching.setdefault("namespaceSelector", {})
    matching.setdefault("objectSelector", {})
    default_rules(matching.get("resourceRules"))
    default_rules(matching.get("excludeResourceRules"))


def default_rules(rules: list[Obj] | None) -> None:
    """Rules are for resources of any scope, where they do not say."""
    for rule in rules or ():
        rule.setdefault("scope", "*")


def _default_policy(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    default_matching(spec.get("matchConstraints"))


class ValidatingAdmissionPolicyStrategy(StatusOnly):
    allow_unconditional_update = False
    has_generation = True
    metadata_checked_again = frozenset(("common",))
    columns = (NAME_COLUMN, Column("Validations", "integer"), Column("ParamKind"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        _default_policy(obj)

    def validate(self, obj: Obj) -> list[FieldError]:
        from pilothouse.api.kinds import policy_checks

        return list(policy_checks.validating_policy(obj.get("spec") or {}, obj["metadata"].get("name") or ""))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        validations = (obj.get("spec") or {}).get("validations")
        return [table.name_of(obj), table.count(validations), param_kind(obj), table.age(obj, now)]


class MutatingAdmissionPolicyStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True
    metadata_checked_again = frozenset(("common",))
    columns = (NAME_COLUMN, Column("Mutations", "integer"), Column("ParamKind"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        _default_policy(obj)

    def validate(self, obj: Obj) -> list[FieldError]:
        from pilothouse.api.kinds import mutation_checks

        return list(mutation_checks.mutating_policy(obj.get("spec") or {}))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        mutations = (obj.get("spec") or {}).get("mutations")
        return [table.name_of(obj), table.count(mutations), param_kind(obj), table.age(obj, now)]


class _BindingStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True
    metadata_checked_again = frozenset(("common",))
    columns = (NAME_COLUMN, Column("PolicyName"), Column("ParamRef"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        default_matching((obj.get("spec") or {}).get("matchResources"))

    def validate(self, obj: Obj) -> list[FieldError]:
        from pilothouse.api.kinds import policy_checks

        return list(policy_checks.binding(obj.get("spec") or {}))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), (obj.get("spec") or {}).get("policyName", ""), param_ref(obj), table.age(obj, now)]


class ValidatingAdmissionPolicyBindingStrategy(_BindingStrategy):
    def validate(self, obj: Obj) -> list[FieldError]:
        from pilothouse.api.kinds import policy_checks

        spec = obj.get("spec") or {}
        return super().validate(obj) + list(policy_checks.actions(spec.get("validationActions") or []))


class MutatingAdmissionPolicyBindingStrategy(_BindingStrategy):
    def validate(self, obj: Obj) -> list[FieldError]:
        from pilothouse.api.kinds import policy_checks

        rules = ((obj.get("spec") or {}).get("matchResources") or {}).get("resourceRules") or []
        return super().validate(obj) + list(policy_checks.mutable_operations(rules, "spec.matchResources.resourceRules"))
