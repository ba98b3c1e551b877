"""Whether the rules of a schema are ones: what a CustomResourceDefinition is told about its `x-kubernetes-validations`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pilothouse.api.cel import declarations
from pilothouse.api.cel.budgets import Budget
from pilothouse.api.cel.errors import CompileError
from pilothouse.api.cel.program import Program
from pilothouse.api.cel.rules import Subject, default_errors
from pilothouse.api.cel.sizes import bounds_of, most_often
from pilothouse.api.crd.rules import has_rules
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
#: Types that have no name of their own are numbered.
_types = itertools.count(1)
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']+)'\]")


def rule_errors(schema: Obj, path: str, *, root: bool = True, unchanged: bool = False) -> list[FieldError]:
    """All that is wrong with the rules of a schema and of what is below it. `root`: of whole objects; `unchanged`: they were good before."""
    budget = Budget(unchanged)
    out = list(_node(schema, _Place(path, root, "", 1), budget))
    return out + budget.overdrawn(path) or list(_defaults(schema, path))


class _Place(NamedTuple):
    """Where a schema stands: in which list above items cannot be compared with what they were, and how often values are there at most."""

    path: str
    root: bool
    apart: str
    often: int | None

    def child(self, step: str, apart: str = "", most: int | None = 1) -> _Place:
        often = None if self.often is None or most is None else self.often * most
        return _Place(self.path + step, False, apart or self.apart, often)


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


def _node(schema: Any, place: _Place, budget: Budget) -> Iterator[FieldError]:
    if not has_rules(schema):
        return
    for name, child in (schema.get("properties") or {}).items():
        yield from _node(child, place.child(f".properties[{name}]"), budget)
    if isinstance(schema.get("additionalProperties"), dict):
        below = place.child(".additionalProperties", most=schema.get("maxProperties"))
        yield from _node(schema["additionalProperties"], below, budget)
    if isinstance(schema.get("items"), dict):
        lost = "" if schema.get("x-kubernetes-list-type") == "map" else place.path
        yield from _node(schema["items"], place.child(".items", place.apart or lost, schema.get("maxItems")), budget)
    given = schema.get("x-kubernetes-validations") or []
    kind = declarations.type_of(schema, f"selfType{next(_types)}", root=place.root) if given else None
    bounds = bounds_of(schema, root=place.root) if given else None
    where = f"{place.path}.x-kubernetes-validations"
    if given and (kind is None or bounds is None):
        why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations"
        yield FieldError("InternalError", where, detail=why)
        return
    if kind is None or bounds is None:
        return
    often = place.often if place.often is not None else most_often(bounds)
    subject = Subject(schema, kind, bounds, root=place.root)
    for n, rule in enumerate(given):
        yield from _rule(rule, f"{where}[{n}]", schema, _Use(subject, often, place.apart), budget)


class _Use(NamedTuple):
    """What rules are about, how often it is there, and the list above whose items cannot be compared with what they were."""

    subject: Subject
    often: int
    apart: str


def _rule(rule: Mapping[str, Any], path: str, schema: Obj, use: _Use, budget: Budget) -> Iterator[FieldError]:
    text = rule.get("rule") or ""
    if not text.strip():
        yield required(f"{path}.rule", "rule is not specified")
        return
    yield from _message(rule, path)
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        yield not_supported(f"{path}.reason", rule["reason"], _REASONS)
    if rule.get("fieldPath") and not _leads(schema, rule["fieldPath"]):
        yield invalid(f"{path}.fieldPath", rule["fieldPath"], "must be a valid path")
    wrap = bool(rule.get("optionalOldSelf"))
    uses: frozenset[str] = frozenset()
    program = _compiled(text, use.subject, wrap)
    if isinstance(program, Program):
        yield from budget.spend("estimated rule cost", program.cost * use.often, f"{path}.rule")
    if isinstance(program, str):
        yield invalid(f"{path}.rule", _shown(rule), f"compilation failed: {program}")
    elif program.type.kind not in ("bool", "dyn"):
        yield invalid(f"{path}.rule", _shown(rule), "cel expression must evaluate to a bool")
    else:
        uses = program.uses
    if use.apart and "oldSelf" in uses:
        told = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {use.apart}"
        yield invalid(f"{path}.rule", text, told)
    yield from _wording(rule, path, use.subject, wrap, budget)
    if rule.get("optionalOldSelf") is not None and "oldSelf" not in uses:
        yield invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule")


def _compiled(text: str, subject: Subject, wrap: bool) -> Program | str:
    try:
        return subject.program(text, wrap)
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


def _wording(rule: Mapping[str, Any], path: str, subject: Subject, wrap: bool, budget: Budget) -> Iterator[FieldError]:
    expression = rule.get("messageExpression") or ""
    if not expression:
        return
    if not expression.strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
        return
    program = _compiled(expression, subject, wrap)
    if isinstance(program, Program):
        yield from budget.spend("estimated messageExpression cost", program.cost, f"{path}.messageExpression")
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
