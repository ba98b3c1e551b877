"""What a ValidatingAdmissionPolicy's expressions get wrong about the kinds that its rules name: `status.typeChecking` (KEP-3488).

Checked are built-in kinds that rules name without wildcards, ten at most. Custom kinds are not, as in Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilothouse.api import tables
from pilothouse.api.cel import builtin
from pilothouse.api.cel.errors import CompileError
from pilothouse.api.cel.program import compile_expression
from pilothouse.api.cel.types import DYN, Type
from pilothouse.api.errors import Obj
from pilothouse.api.kinds import policy_checks

_KINDS = 10
Gvk = tuple[str, str, str]


def expression_warnings(policy: Obj) -> list[Obj]:
    """The warnings of a policy: `fieldRef` and `warning`, for each expression that does not fit one of the kinds."""
    spec = policy["spec"]
    scopes = [(gvk, _scope(gvk, spec)) for gvk in _kinds(spec.get("matchConstraints") or {})]
    out: list[Obj] = []
    for n, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            told = "".join(_told(validation.get(field) or "", gvk, scope) for gvk, scope in scopes)
            if told:
                out.append({"fieldRef": f"spec.validations[{n}].{field}", "warning": told})
    return out


def _told(expression: str, gvk: Gvk, scope: Mapping[str, Type]) -> str:
    if not expression.strip():
        return ""
    try:
        compile_expression(expression, scope)
    except CompileError as error:
        return f"{_version(gvk)}, Kind={gvk[2]}: {error}\n"
    return ""


def _version(gvk: Gvk) -> str:
    return f"{gvk[0]}/{gvk[1]}"  # with the slash also for the core group, as the reference writes it


def _kinds(constraints: Obj) -> list[Gvk]:
    """The built-in kinds that rules name, in the order of their names."""
    found = {gvk for rule in constraints.get("resourceRules") or () for gvk in _named(rule)}
    return sorted(found)[:_KINDS]


def _named(rule: Obj) -> Iterator[Gvk]:
    wanted = [rule.get(part) or [] for part in ("apiGroups", "apiVersions", "resources")]
    if any("*" in words for words in wanted):
        return
    groups, versions, plurals = wanted
    for group in groups:
        for version in versions:
            for plural in plurals:
                resource = tables.resource_for(group, version, plural)
                if resource is not None:
                    yield resource.group, resource.version, resource.kind


def _scope(gvk: Gvk, spec: Obj) -> dict[str, Type]:
    """The variables of a policy's expressions, for objects of one kind."""
    kind = _type(gvk)
    scope = policy_checks.common_variables() | {"object": kind, "oldObject": kind}
    if spec.get("paramKind") is not None:
        group, _, version = (spec["paramKind"].get("apiVersion") or "").rpartition("/")
        scope["params"] = _type((group, version, spec["paramKind"].get("kind") or ""))
    list(
        policy_checks.add_variables(spec.get("variables") or [], scope)
    )  # what is wrong with them was told when they were written
    return scope | policy_checks.AUTHORIZER


def _type(gvk: Gvk) -> Type:
    if not tables.is_known_kind(*gvk):
        return DYN
    return builtin.type_of(tables.schema_for(*gvk), gvk[2])
