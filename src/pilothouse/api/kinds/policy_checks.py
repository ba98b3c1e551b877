"""What policies and bindings of admission are told about their match rules and their expressions."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pilothouse.api import names
from pilothouse.api.cel import declarations
from pilothouse.api.cel.errors import CompileError
from pilothouse.api.cel.program import compile_expression
from pilothouse.api.cel.types import DYN, Type
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_supported, required, too_many
from pilothouse.api.selectors import validate_label_selector

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS = ("Audit", "Deny", "Warn")
CONDITIONS_LIMIT = 64
_NEITHER = "validations or auditAnnotations must contain at least one item"
_TWICE = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"


# --- match rules ------------------------------------------------------------------------------------------------------------------


def matching(given: Obj, path: str) -> Iterator[FieldError]:
    """Errors of MatchResources."""
    if given.get("matchPolicy") not in (None, "Equivalent", "Exact"):
        yield not_supported(f"{path}.matchPolicy", given["matchPolicy"], ("Equivalent", "Exact"))
    for part in ("namespaceSelector", "objectSelector"):
        if given.get(part):
            yield from validate_label_selector(given[part], f"{path}.{part}")
    for part in ("resourceRules", "excludeResourceRules"):
        for n, one in enumerate(given.get(part) or ()):
            yield from rule(one, f"{path}.{part}[{n}]")


def rule(rule: Obj, path: str) -> Iterator[FieldError]:
    """Errors of a rule: which operations on which resources."""
    yield from _words(rule, path, "operations", blank=True)
    for n, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            yield not_supported(f"{path}.operations[{n}]", operation, _OPERATIONS)
    yield from _words(rule, path, "apiGroups", blank=True)
    yield from _words(rule, path, "apiVersions")
    yield from _resources(rule.get("resources") or [], f"{path}.resources")
    given = rule.get("resourceNames") or []
    yield from (duplicate(f"{path}.resourceNames[{n}]", one) for n, one in enumerate(given) if one in given[:n])
    if rule.get("scope") not in (None, "*", "Cluster", "Namespaced"):
        yield not_supported(f"{path}.scope", rule["scope"], ("*", "Cluster", "Namespaced"))


def _resources(given: list[str], path: str) -> Iterator[FieldError]:
    """Resources and subresources (`pods`, `pods/log`, `pods/*`, `*/scale`, `*`, `*/*`), none of which says again what another says."""
    if not given:
        yield required(path)
    whole: set[str] = set()
    everywhere: set[str] = set()
    for n, one in enumerate(given):
        name, slash, sub = one.partition("/")
        if not one:
            yield required(f"{path}[{n}]")
        if one == "*/*":
            continue
        if slash and name in whole:
            yield invalid(f"{path}[{n}]", one, f"if '{name}/*' is present, must not specify {one}")
        if slash and sub in everywhere:
            yield invalid(f"{path}[{n}]", one, f"if '*/{sub}' is present, must not specify {one}")
        if slash and sub == "*":
            whole.add(name)
        if slash and name == "*":
            everywhere.add(sub)
    if "*/*" in given and len(given) > 1:
        yield invalid(path, given, "if '*/*' is present, must not specify other resources")
    if "*" in given and any("/" not in r and r != "*" for r in given):
        yield invalid(path, given, "if '*' is present, must not specify other resources without subresources")


def _words(rule: Obj, path: str, key: str, blank: bool = False) -> Iterator[FieldError]:
    given = rule.get(key) or []
    if not given:
        yield required(f"{path}.{key}")
    for n, word in enumerate(given):
        if not word and not blank:
            yield required(f"{path}.{key}[{n}]")
    if "*" in given and len(given) > 1:
        plain = {"apiGroups": "API groups", "apiVersions": "API versions", "operations": "operations"}[key]
        yield invalid(f"{path}.{key}", given, f"if '*' is present, must not specify other {plain}")


# --- expressions --------------------------------------------------------------------------------------------------------------------

_TEXT, _YES = {"type": "string"}, {"type": "boolean"}
_TEXTS = {"type": "array", "items": _TEXT}


def _record(*fields: str, **more: Any) -> Obj:
    return {"type": "object", "properties": dict.fromkeys(fields, _TEXT) | more}


@functools.cache
def common_variables() -> dict[str, Type]:
    """The variables that every expression has."""
    user = _record("username", "uid", groups=_TEXTS, extra={"type": "object", "additionalProperties": _TEXTS})
    options = {"x-kubernetes-int-or-string": True}  # of any shape
    request = _record(
        "subResource", "requestSubResource", "name", "namespace", "operation", kind=_record("group", "version", "kind"),
        resource=_record("group", "version", "resource"), requestKind=_record("group", "version", "kind"),
        requestResource=_record("group", "version", "resource"), userInfo=user, dryRun=_YES, options=options,
    )  # fmt: skip
    labels = {"type": "object", "additionalProperties": _TEXT}
    meta = _record(
        "name", "generateName", "namespace", "UID", "resourceVersion", labels=labels, annotations=labels, generation={"type": "integer"},
        creationTimestamp={"type": "string", "format": "date-time"}, deletionTimestamp={"type": "string", "format": "date-time"},
    )  # fmt: skip
    space = {"type": "object", "properties": {"metadata": meta, "spec": _record(finalizers=_TEXTS), "status": _record("phase")}}
    found = {
        "request": declarations.type_of(request, "kubernetes.AdmissionRequest"),
        "namespaceObject": declarations.type_of(space, "kubernetes.Namespace"),
    }
    return {"object": DYN, "oldObject": DYN} | {k: _unescaped(v) for k, v in found.items() if v is not None}


def _unescaped(kind: Type) -> Type:
    """The fields of built-in types go by their own names."""
    if kind.fields is None:
        return kind
    return replace(kind, fields={name: (name, _unescaped(inner)) for name, inner in kind.fields.values()})


AUTHORIZER = {
    "authorizer": Type("kubernetes.authorization.Authorizer"),
    "authorizer.requestResource": Type("kubernetes.authorization.ResourceCheck"),
}


def _expression(text: str, path: str, variables: Mapping[str, Type], wanted: tuple[str, ...]) -> tuple[list[FieldError], Type]:
    """Errors of one expression, and what it evaluates to."""
    try:
        found = compile_expression(text, variables).type
    except CompileError as error:
        return [invalid(path, text, f"compilation failed: {error}")], DYN
    if wanted and found.kind not in wanted:
        one = wanted[0] if len(wanted) == 1 else "one of [string null_type]"
        return [invalid(path, text, f"must evaluate to {one} but got {found}")], found
    return [], found


def conditions(given: list[Obj], path: str, variables: Mapping[str, Type]) -> Iterator[FieldError]:
    """Errors of matchConditions."""
    seen: set[str] = set()
    for n, condition in enumerate(given):
        at, name, text = f"{path}[{n}]", condition.get("name") or "", condition.get("expression") or ""
        if not text.strip():
            yield required(f"{at}.expression")
        else:
            yield from _expression(text, f"{at}.expression", variables, ("bool",))[0]
        if not name:
            yield required(f"{at}.name")
            continue
        yield from (invalid(f"{at}.name", name, problem) for problem in names.qualified_name(name))
        if name in seen:
            yield duplicate(f"{at}.name", name)
        seen.add(name)


def policy(spec: Obj, scope: dict[str, Type]) -> Iterator[FieldError]:
    """Errors that policies of both kinds share. `scope` gets the variables that their expressions have."""
    if spec.get("failurePolicy") not in (None, "Fail", "Ignore"):
        yield not_supported("spec.failurePolicy", spec["failurePolicy"], ("Fail", "Ignore"))
    if spec.get("paramKind") is not None:
        yield from _param_kind(spec["paramKind"])
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield required("spec.matchConstraints")
    else:
        yield from matching(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            yield required("spec.matchConstraints.resourceRules")
    scope |= common_variables() | ({"params": DYN} if spec.get("paramKind") is not None else {})
    given = spec.get("matchConditions") or []
    if len(given) > CONDITIONS_LIMIT:
        yield too_many("spec.matchConditions", len(given), CONDITIONS_LIMIT)
    else:
        yield from conditions(given, "spec.matchConditions", scope | AUTHORIZER)
    yield from add_variables(spec.get("variables") or [], scope)


def _param_kind(kind: Obj) -> Iterator[FieldError]:
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    if not version:
        yield required("spec.paramKind.apiVersion")
    elif version.count("/") > 1:
        yield invalid("spec.paramKind.apiVersion", version, f"unexpected GroupVersion string: {version}")
    if not name:
        yield required("spec.paramKind.kind")
        return
    told = "may have mixed case, but should otherwise match"
    yield from (invalid("spec.paramKind.kind", name, f"{told}: {problem}") for problem in names.dns1035_label(name.lower()))


def validating_policy(spec: Obj, name: str) -> Iterator[FieldError]:
    """Errors of a ValidatingAdmissionPolicy's spec."""
    scope: dict[str, Type] = {}
    yield from policy(spec, scope)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        yield from (required(f"spec.{part}", _NEITHER) for part in ("validations", "auditAnnotations"))
    for n, validation in enumerate(spec.get("validations") or ()):
        yield from _validation(validation, f"spec.validations[{n}]", scope)
    seen: set[str] = set()
    for n, audit in enumerate(spec.get("auditAnnotations") or ()):
        yield from _audit_key(audit.get("key") or "", f"spec.auditAnnotations[{n}].key", name, seen)
        at, text = f"spec.auditAnnotations[{n}].valueExpression", audit.get("valueExpression") or ""
        if not text.strip():
            yield required(at, "valueExpression is not specified")
        else:
            yield from _expression(text, at, scope | AUTHORIZER, ("string", "null"))[0]


def _audit_key(key: str, path: str, policy: str, seen: set[str]) -> Iterator[FieldError]:
    """Annotations are named after their policy."""
    if not policy:
        yield invalid(path, key, "requires metadata.name be non-empty")
        return
    full = f"{policy}/{key}"
    yield from (invalid(path, full, problem) for problem in names.qualified_name(full))
    if key in seen:
        yield duplicate(path, key)
    seen.add(key)


def condition_variables() -> dict[str, Type]:
    """What the conditions of a webhook see."""
    return common_variables() | AUTHORIZER


def mutable_operations(rules: list[Obj], path: str) -> Iterator[FieldError]:
    """Errors of the rules of what mutates: there is nothing to change in what is deleted."""
    for one in rules:
        wrong = (o for o in one.get("operations") or () if o not in _MUTABLE)
        yield from (not_supported(f"{path}.operations", o, _MUTABLE) for o in wrong)


def add_variables(given: list[Obj], scope: dict[str, Type]) -> Iterator[FieldError]:
    """Each sees those before it."""
    fields: dict[str, tuple[str, Type]] = {}
    if given:
        scope["variables"] = Type("object", name="kubernetes.variables", fields=fields)
    for n, variable in enumerate(given):
        at, name, text = f"spec.variables[{n}]", variable.get("name") or "", variable.get("expression") or ""
        if not name:
            yield required(f"{at}.name", "name is not specified")
        elif not name.isidentifier() or not name.isascii():
            yield invalid(f"{at}.name", name, "must be a valid CEL identifier")
        if not text.strip():
            yield required(f"{at}.expression", "expression is not specified")
            continue
        errors, kind = _expression(text, f"{at}.expression", scope | AUTHORIZER, ())
        yield from errors
        fields[name] = (name, kind)


def _validation(given: Obj, path: str, scope: dict[str, Type]) -> Iterator[FieldError]:
    text, message, wording = given.get("expression") or "", given.get("message") or "", given.get("messageExpression") or ""
    if not text.strip():
        yield required(f"{path}.expression", "expression is not specified")
    else:
        yield from _expression(text, f"{path}.expression", scope | AUTHORIZER, ("bool",))[0]
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid(f"{path}.message", message, "must not contain line breaks")
    if wording and not wording.strip():
        yield invalid(f"{path}.messageExpression", wording, "must be non-empty if specified")
    elif wording:
        yield from _expression(wording, f"{path}.messageExpression", scope, ("string",))[0]
    if given.get("reason") is not None and given["reason"] not in _REASONS:
        yield not_supported(f"{path}.reason", given["reason"], _REASONS[:3])


# --- bindings ---------------------------------------------------------------------------------------------------------------------------


def binding(spec: Obj) -> Iterator[FieldError]:
    """Errors that bindings of both kinds share."""
    policy = spec.get("policyName") or ""
    if not policy:
        yield required("spec.policyName")
    else:
        yield from (invalid("spec.policyName", policy, problem) for problem in names.dns1123_subdomain(policy))
    if spec.get("paramRef") is not None:
        yield from _reference(spec["paramRef"])
    if spec.get("matchResources"):
        yield from matching(spec["matchResources"], "spec.matchResources")


def actions(given: list[str]) -> Iterator[FieldError]:
    """Errors of validationActions."""
    if not given:
        yield required("spec.validationActions", "at least one validation action is required")
    for n, action in enumerate(given):
        if action not in _ACTIONS:
            yield not_supported(f"spec.validationActions[{n}]", action, _ACTIONS)
        elif action in given[:n]:
            yield duplicate(f"spec.validationActions[{n}]", action)
    if "Deny" in given and "Warn" in given:
        yield invalid("spec.validationActions", given, _TWICE)


def _reference(ref: Obj) -> Iterator[FieldError]:
    if ref.get("name") and ref.get("selector") is not None:
        yield from (
            forbidden(f"spec.paramRef.{part}", "name and selector are mutually exclusive") for part in ("name", "selector")
        )
    elif not ref.get("name") and ref.get("selector") is None:
        yield required("spec.paramRef", "one of name or selector must be specified")
    elif ref.get("selector"):
        yield from validate_label_selector(ref["selector"], "spec.paramRef.selector")
    action = ref.get("parameterNotFoundAction")
    if not action:
        yield required("spec.paramRef.parameterNotFoundAction")
    elif action not in ("Allow", "Deny"):
        yield not_supported("spec.paramRef.parameterNotFoundAction", action, ("Deny", "Allow"))
