"""Validation rules of custom resources (`x-kubernetes-validations`): an object, and what it was before, against a schema's rules.

Reference: "Extend the Kubernetes API with CustomResourceDefinitions", sections "Validation rules" and "Validation ratcheting".
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pilothouse.api.cel import declarations
from pilothouse.api.cel.errors import CelError, CompileError, CostExceeded
from pilothouse.api.cel.program import CALL_LIMIT, Program, compile_expression
from pilothouse.api.cel.sizes import Bounds
from pilothouse.api.cel.types import Type, optional_of
from pilothouse.api.cel.values import NONE, Optional, equal
from pilothouse.api.crd.rules import has_rules
from pilothouse.api.errors import OMIT, FieldError, Obj

#: What all rules together may cost in one request.
REQUEST_BUDGET = 10_000_000
_ROOT = "<nil>"


class Subject:
    """What rules are about: the values of a schema. `root`: whole objects.

    Versions of a definition repeat their schemas, schemas repeat their parts, and what was compiled to be checked is soon run: the last
    programs are kept, by expression and schema.
    """

    __slots__ = ("bounds", "key", "kind")
    _MOST: ClassVar[int] = 256
    _kept: ClassVar[OrderedDict[tuple[bytes, str, bool], Program]] = OrderedDict()

    def __init__(self, schema: Obj, kind: Type, bounds: Bounds | None = None, *, root: bool = False) -> None:
        self.kind = kind
        self.bounds = bounds
        self.key = hashlib.blake2b(f"{root} {schema}".encode(errors="surrogatepass"), digest_size=16).digest()

    def program(self, expression: str, wrap: bool) -> Program:
        """The program of an expression, with its cost where the subject has bounds; CompileError. `wrap`: the old value may not be there."""
        key = self.key, expression, wrap
        program = self._kept.get(key)
        if program is None:
            program = compile_expression(expression, variables_of(self.kind, wrap), bounds=self.bounds)
            if self.bounds is not None:
                self._kept[key] = program
                if len(self._kept) > self._MOST:
                    self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return program


class Rule:
    """One rule on values of one type. CompileError where an expression is wrong."""

    __slots__ = ("field_path", "program", "reason", "shown", "told", "transition", "wording", "wrap")

    def __init__(self, given: Mapping[str, Any], subject: Subject) -> None:
        self.wrap = bool(given.get("optionalOldSelf"))
        self.program = subject.program(given["rule"], self.wrap)
        expression = given.get("messageExpression")
        self.wording: Program | None = subject.program(expression, self.wrap) if expression else None
        #: The rule in messages about itself, and what is said when it does not hold.
        self.shown = given.get("message") or given["rule"].strip()
        self.told = given.get("message") or f"failed rule: {self.shown}"
        self.reason = given.get("reason") or "FieldValueInvalid"
        self.field_path = given.get("fieldPath") or ""
        self.transition = "oldSelf" in self.program.uses


def variables_of(kind: Type, wrap: bool) -> dict[str, Type]:
    """The variables of a rule; with `wrap` the old value may not be there."""
    return {"self": kind, "oldSelf": optional_of(kind) if wrap else kind}


class _OutOfBudget(Exception):
    """No further rules are run."""


class _Walk:
    """One check: its errors and what is left of its budget."""

    __slots__ = ("budget", "errors")

    def __init__(self) -> None:
        self.budget = REQUEST_BUDGET
        self.errors: list[FieldError] = []

    def wrong(self, field: str, value: Any, told: str) -> None:
        self.errors.append(FieldError("FieldValueInvalid", field, value, told))

    def spend(self, cost: int, field: str) -> None:
        self.budget -= cost
        if self.budget < 0:
            self.wrong(
                field, OMIT, "validation failed due to running out of cost budget, no further validation rules will be run"
            )
            raise _OutOfBudget


#: (walk, value, old value or None, path)
Visit = Callable[[_Walk, Any, Any, str], None]


def checker(openapi: Obj) -> Callable[[Obj, Obj | None], list[FieldError]] | None:
    """What checks whole objects of a version's schema; None where it has no rules."""
    if not has_rules(openapi):
        return None
    visit = functools.cache(lambda: _visit(openapi, root=True))

    def check(obj: Obj, old: Obj | None) -> list[FieldError]:
        walk, run = _Walk(), visit()
        if run is not None:
            with contextlib.suppress(_OutOfBudget):
                run(walk, obj, old, "")
        return walk.errors

    return check


def default_errors(schema: Obj, path: str) -> list[FieldError]:
    """What the rules of a schema, and of what is below it, say about its own default."""
    walk, visit = _Walk(), _visit(schema)
    if visit is not None:
        with contextlib.suppress(_OutOfBudget):
            visit(walk, schema["default"], None, f"{path}.default")
    return walk.errors


def _visit(schema: Obj, *, root: bool = False) -> Visit | None:
    if not has_rules(schema):
        return None
    rules = _rules(schema, root)
    below = _below(schema)
    kind = schema.get("type", "")

    def visit(walk: _Walk, value: Any, old: Any, path: str) -> None:
        if value is None:
            return
        same = old is not None and equal(value, old)
        for rule in rules:
            if not (same and not rule.transition):
                _apply(walk, rule, value, old, path, kind)
        if below is not None:
            below(walk, value, old, path)

    return visit


def _rules(schema: Obj, root: bool) -> list[Rule]:
    given = schema.get("x-kubernetes-validations") or []
    kind = declarations.type_of(schema, root=root) if given else None
    out: list[Rule] = []
    if kind is None:
        return out
    subject = Subject(schema, kind, root=root)
    for one in given:
        try:
            out.append(Rule(one, subject))
        except CompileError:
            continue  # refused when the definition was written; one stored by a newer server may still be there
    return out


def _apply(walk: _Walk, rule: Rule, value: Any, old: Any, path: str, kind: str) -> None:
    if rule.transition and old is None and not rule.wrap:
        return
    before: Any = old
    if rule.wrap:
        before = NONE if old is None else Optional(True, old)
    variables = {"self": value, "oldSelf": before}
    field = path.removeprefix(".") or _ROOT
    try:
        good, cost = rule.program.evaluate(variables, CALL_LIMIT)
    except CostExceeded as error:
        why = "no further validation rules will be run due to call cost exceeds limit for rule"
        walk.wrong(field, kind, f"'{error}': {why}: {rule.shown}")
        raise _OutOfBudget from None
    except CelError as error:
        walk.wrong(field, kind, _failed(error, rule))
        return
    walk.spend(cost, field)
    if not good:
        shown = OMIT if isinstance(value, (dict, list)) else value
        at = (path + rule.field_path).removeprefix(".") or _ROOT
        walk.errors.append(FieldError(rule.reason, at, shown, _told(walk, rule, variables, field)))


def _failed(error: CelError, rule: Rule) -> str:
    if str(error).startswith("no such overload"):
        return f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule.shown}"
    return f"{error} evaluating rule: {rule.shown}"


def _told(walk: _Walk, rule: Rule, variables: Obj, field: str) -> str:
    """The message: what its expression says, unless that fails or says nothing on one line."""
    if rule.wording is None:
        return rule.told
    try:
        found, cost = rule.wording.evaluate(variables)
    except CelError:
        return rule.told
    walk.spend(cost, field)
    text = str(found).strip()
    return text if text and "\n" not in text and len(text) <= 5 * 1024 else rule.told


# --- the values below one ------------------------------------------------------------------------------------------------------------


def _below(schema: Obj) -> Visit | None:
    if schema.get("type") == "array":
        inner = _visit(schema.get("items") or {})
        return None if inner is None else _list(inner, schema)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        inner = _visit(values)
        return None if inner is None else _map(inner)
    properties = [(name, _visit(child)) for name, child in (schema.get("properties") or {}).items()]
    found = [(name, visit) for name, visit in properties if visit is not None]
    return _object(found) if found else None


def _object(properties: list[tuple[str, Visit]]) -> Visit:
    def visit(walk: _Walk, value: Any, old: Any, path: str) -> None:
        before = old if isinstance(old, dict) else {}
        for name, inner in properties:
            if name in value:
                inner(walk, value[name], before.get(name), f"{path}.{name}")

    return visit


def _map(inner: Visit) -> Visit:
    def visit(walk: _Walk, value: Any, old: Any, path: str) -> None:
        before = old if isinstance(old, dict) else {}
        for key, item in value.items():
            inner(walk, item, before.get(key), f"{path}[{key}]")

    return visit


def _list(inner: Visit, schema: Obj) -> Visit:
    """Items of a list that is a map are compared with those of the same keys; others have a past only while the list is the same."""
    keys = schema.get("x-kubernetes-list-map-keys") or ()

    def key_of(item: Any) -> tuple[Any, ...]:
        return tuple(item.get(k) for k in keys)

    def visit(walk: _Walk, value: Any, old: Any, path: str) -> None:
        before = {key_of(item): item for item in old or ()} if keys else {}
        same = not keys and old is not None and equal(value, old)
        for n, item in enumerate(value):
            past = before.get(key_of(item)) if keys else (old[n] if same else None)
            inner(walk, item, past, f"{path}[{n}]")

    return visit
