"""Whether the rules of a schema are ones: what a CustomResourceDefinition is told about its `x-kubernetes-validations`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api.cel import declarations
from pilothouse.api.cel.errors import CompileError
from pilothouse.api.cel.program import Program, compile_expression
from pilothouse.api.cel.rules import default_errors, variables_of
from pilothouse.api.cel.types import Type
from pilothouse.api.crd.rules import has_rules
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
#: Types that have no name of their own are numbered.
_types = itertools.count(1)
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']+)'\]")


def rule_errors(schema: Obj, path: str, *, root: bool = True) -> list[FieldError]:
    """All that is wrong with the rules of a schema and of what is below it. `root`: of whole objects."""
    return list(_node(schema, path, root, "")) or list(_defaults(schema, path))


def _defaults(schema: Any, path: str) -> Iterator[FieldError]:
    """Defaults that break the rules of their own schemas."""
    if not has_rules(schema):
        return
    if schema.get("default") is not None:
        yield from default_errors(schema, path)
    for name, child in (schema.get("properties") or {}).items():
        yield from _defaults(child, f"{path}.properties[{name}]")
    for part in ("items", "additionalProperties"):
        yield from _defaults(schema.get(part), f"{path}.{part}")


def _node(schema: Any, path: str, root: bool, apart: str) -> Iterator[FieldError]:
    """`apart` is the list above whose items cannot be compared with what they were."""
    if not has_rules(schema):
        return
    for name, child in (schema.get("properties") or {}).items():
        yield from _node(child, f"{path}.properties[{name}]", False, apart)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _node(schema["additionalProperties"], f"{path}.additionalProperties", False, apart)
    if isinstance(schema.get("items"), dict):
        lost = apart or ("" if schema.get("x-kubernetes-list-type") == "map" else path)
        yield from _node(schema["items"], f"{path}.items", False, lost)
    given = schema.get("x-kubernetes-validations") or []
    kind = declarations.type_of(schema, f"selfType{next(_types)}", root=root) if given else None
    where = f"{path}.x-kubernetes-validations"
    if given and kind is None:
        why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations"
        yield FieldError("InternalError", where, detail=why)
        return
    for n, rule in enumerate(given):
        assert kind is not None
        yield from _rule(rule, f"{where}[{n}]", schema, kind, apart)


def _rule(rule: Mapping[str, Any], path: str, schema: Obj, kind: Type, apart: str) -> Iterator[FieldError]:
    text = rule.get("rule") or ""
    if not text.strip():
        yield required(f"{path}.rule", "rule is not specified")
        return
    yield from _message(rule, path)
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        yield not_supported(f"{path}.reason", rule["reason"], _REASONS)
    if rule.get("fieldPath") and not _leads(schema, rule["fieldPath"]):
        yield invalid(f"{path}.fieldPath", rule["fieldPath"], "must be a valid path")
    variables = variables_of(kind, bool(rule.get("optionalOldSelf")))
    uses: frozenset[str] = frozenset()
    program = _compiled(text, variables)
    if isinstance(program, str):
        yield invalid(f"{path}.rule", _shown(rule), f"compilation failed: {program}")
    elif program.type.kind not in ("bool", "dyn"):
        yield invalid(f"{path}.rule", _shown(rule), "cel expression must evaluate to a bool")
    else:
        uses = program.uses
    if apart and "oldSelf" in uses:
        yield invalid(f"{path}.rule", text, f"oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}")
    yield from _wording(rule, path, variables)
    if rule.get("optionalOldSelf") is not None and "oldSelf" not in uses:
        yield invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule")


def _compiled(text: str, variables: Mapping[str, Type]) -> Program | str:
    try:
        return compile_expression(text, variables)
    except CompileError as error:
        return str(error)


def _message(rule: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    message = rule.get("message") or ""
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid(f"{path}.message", message, "must not contain line breaks")
    elif not message and "\n" in rule["rule"].strip():
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")


def _wording(rule: Mapping[str, Any], path: str, variables: Mapping[str, Type]) -> Iterator[FieldError]:
    expression = rule.get("messageExpression") or ""
    if not expression:
        return
    if not expression.strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
        return
    program = _compiled(expression, variables)
    if isinstance(program, str):
        yield invalid(f"{path}.messageExpression", _shown(rule), f"messageExpression compilation failed: {program}")
    elif program.type.kind != "string":
        yield invalid(f"{path}.messageExpression", _shown(rule), "messageExpression must evaluate to a string")


def _leads(schema: Obj, path: str) -> bool:
    """Whether a path of fields (`.a.b`, `.m['k']`) leads to something that the schema knows."""
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return False
        name = step.group(1) or step.group(2)
        values = schema.get("additionalProperties")
        below = (schema.get("properties") or {}).get(name, values if isinstance(values, dict) else None)
        if below is None:
            return False
        schema, at = below, step.end()
    return True


def _shown(rule: Mapping[str, Any]) -> Obj:
    """A rule as messages show it."""
    return {
        "Rule": rule.get("rule", ""), "Message": rule.get("message", ""), "MessageExpression": rule.get("messageExpression", ""),
        "Reason": rule.get("reason"), "FieldPath": rule.get("fieldPath", ""), "OptionalOldSelf": rule.get("optionalOldSelf"),
    }  # fmt: skip
