"""What mutating admission policies are told about themselves. API reference: MutatingAdmissionPolicySpec v1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilothouse.api.cel.errors import CompileError
from pilothouse.api.cel.mutation import JSON_PATCHES, OBJECT, messages
from pilothouse.api.cel.program import compile_expression
from pilothouse.api.cel.types import Type
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required
from pilothouse.api.kinds import policy_checks

#: The field of each patch type, and what its expression evaluates to.
_PATCHES = {"ApplyConfiguration": ("applyConfiguration", OBJECT), "JSONPatch": ("jsonPatch", JSON_PATCHES)}


def mutating_policy(spec: Obj) -> Iterator[FieldError]:
    """Errors of a MutatingAdmissionPolicy's spec."""
    scope: dict[str, Type] = {"variables": Type("object", name="kubernetes.variables", fields={})}
    yield from policy_checks.policy(spec, scope)
    rules = (spec.get("matchConstraints") or {}).get("resourceRules") or []
    yield from policy_checks.mutable_operations(rules, "spec.matchConstraints.resourceRules")
    if not spec.get("mutations"):
        yield required("spec.mutations", "mutations must contain at least one item")
    for n, mutation in enumerate(spec.get("mutations") or ()):
        yield from _mutation(mutation, f"spec.mutations[{n}]", scope | policy_checks.AUTHORIZER)
    again = spec.get("reinvocationPolicy")
    if not again:
        yield required("spec.reinvocationPolicy")
    elif again not in ("IfNeeded", "Never"):
        yield not_supported("spec.reinvocationPolicy", again, ("IfNeeded", "Never"))


def _mutation(mutation: Obj, path: str, variables: Mapping[str, Type]) -> Iterator[FieldError]:
    kind = mutation.get("patchType") or ""
    if not kind:
        yield required(f"{path}.patchType")
        return
    if kind not in _PATCHES:
        yield not_supported(f"{path}.patchType", kind, tuple(_PATCHES))
        return
    field, wanted = _PATCHES[kind]
    if mutation.get(field) is None:
        yield required(f"{path}.{field}", f"must be specified when patchType is {kind}")
    for other, _ in _PATCHES.values():
        if other != field and mutation.get(other) is not None:
            yield invalid(f"{path}.{other}", f"{{{other}}}", f"must not be specified when patchType is {kind}")
            return
    if mutation.get(field) is not None:
        yield from _expression(mutation[field].get("expression") or "", f"{path}.{field}.expression", variables, wanted)


def _expression(text: str, path: str, variables: Mapping[str, Type], wanted: Type) -> Iterator[FieldError]:
    if not text.strip():
        yield required(path)
        return
    try:
        found = compile_expression(text, variables, messages).type
    except CompileError as error:
        yield invalid(path, text, f"compilation failed: {error}")
        return
    if str(found) != str(wanted):
        yield invalid(path, text, f"must evaluate to {wanted} but got {found}")
