"""What the expressions of policies and of webhooks' match conditions see, and what evaluating them may cost.

API reference: "CEL Variables" of ValidatingAdmissionPolicy; budgets are those of the documentation ("Resource use by CEL functions").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pilothouse.api.cel.errors import CelError, CompileError, CostExceeded
from pilothouse.api.cel.lib.authz import Check, Decision
from pilothouse.api.cel.program import CALL_LIMIT, Program, compile_expression
from pilothouse.api.cel.types import DYN, Type
from pilothouse.api.errors import Obj
from pilothouse.apiserver.admission.versions import View
from pilothouse.apiserver.interface import AdmissionRequest, Attributes, Hub, User, Verdict
from pilothouse.apiserver.special.body import user_info

#: What all conditions of one webhook, and all expressions of one policy, may cost together.
CONDITIONS_BUDGET = 2_500_000
POLICY_BUDGET = 10_000_000
_VARIABLES = {
    **dict.fromkeys(("object", "oldObject", "request", "params", "namespaceObject", "variables"), DYN),
    "authorizer": Type("kubernetes.authorization.Authorizer"),
    "authorizer.requestResource": Type("kubernetes.authorization.ResourceCheck"),
}
_REMEMBERED = 1000
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


class Failed(Exception):
    """An expression that had no value."""


class Scope(dict[str, Any]):
    """The variables of one evaluation, and what is left of its budget."""

    def __init__(self, variables: Mapping[str, Any], budget: int) -> None:
        super().__init__(variables)
        self.left = budget


class Expressions:
    """The compiled expressions of one plugin. `messages` says which types of objects may be written out in them."""

    def __init__(self, messages: Callable[[str], Type | None] | None = None) -> None:
        self._programs: dict[str, Program] = {}
        self._messages = messages

    def _program(self, text: str) -> Program:
        found = self._programs.get(text)
        if found is None:
            if len(self._programs) >= _REMEMBERED:
                self._programs.clear()
            found = self._programs[text] = compile_expression(text, _VARIABLES, self._messages)
        return found

    def evaluate(self, text: str, scope: Scope) -> Any:
        """CelError and CompileError where there is no value; the cost is taken from the budget."""
        try:
            value, cost = self._program(text).evaluate(scope, min(CALL_LIMIT, scope.left))
        except CostExceeded:
            raise CelError(_SPENT) if scope.left < CALL_LIMIT else CostExceeded("actual cost limit exceeded") from None
        scope.left -= cost
        return value

    def value(self, text: str, scope: Scope) -> Any:
        """The value; Failed, as the reference words it, where there is none."""
        try:
            return self.evaluate(text, scope)
        except CelError as error:
            raise Failed(f"expression '{text.strip()}' resulted in error: {error}") from None
        except CompileError as error:
            raise Failed(f"compilation error: compilation failed: {error}") from None

    def conditions(self, given: Iterable[Obj], scope: Scope) -> bool:
        """Whether all match conditions hold. One that does not hold decides, whatever is wrong with others; Failed tells of those."""
        wrong = []
        for condition in given:
            try:
                if not self.value(condition["expression"], scope):
                    return False
            except Failed as failed:
                wrong.append(str(failed))
        if wrong:
            raise Failed(wrong[0] if len(wrong) == 1 else f"[{', '.join(dict.fromkeys(wrong))}]")
        return True

    def add_variables(self, given: Iterable[Obj], scope: Scope) -> None:
        """A policy's own variables, evaluated when they are asked for."""
        expressions = {v["name"]: v["expression"] for v in given}
        scope["variables"] = _Variables(expressions, lambda text: self.evaluate(text, scope))


def scope_of(hub: Hub, request: AdmissionRequest, view: View, budget: int, params: Obj | None = None) -> Scope:
    """The variables that every expression has."""
    check = Check(_decider(hub, request), "Authorizer")
    scope = Scope({"object": view.obj, "oldObject": view.old, "params": params}, budget)
    scope["request"] = lambda: describe(request, view)
    scope["namespaceObject"] = lambda: _namespace(hub, request)
    scope["authorizer"] = check
    scope["authorizer.requestResource"] = check.step(
        "ResourceCheck", group=request.resource.group, version=request.resource.version, resource=request.resource.plural,
        subresource=request.subresource, namespace=request.namespace, name=request.name,
    )  # fmt: skip
    return scope


def _namespace(hub: Hub, request: AdmissionRequest) -> Obj | None:
    entry = hub.cache("", "namespaces").get("", request.namespace) if request.namespace else None
    return entry.obj if entry is not None else None


def _decider(hub: Hub, request: AdmissionRequest) -> Callable[[tuple[str, str] | None, Mapping[str, str]], Decision]:
    """Answers what the request's user may do, or a service account."""

    def decide(account: tuple[str, str] | None, asked: Mapping[str, str]) -> Decision:
        user = request.user if account is None else _service_account(*account)
        verdict, why = hub.authorize(Attributes(user, **asked))
        return Decision(verdict is Verdict.ALLOW, why)

    return decide


def _service_account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


class _Variables(dict[str, Any]):
    """A policy's variables, each evaluated when it is first asked for."""

    def __init__(self, expressions: dict[str, str], evaluate: Callable[[str], Any]) -> None:
        super().__init__()
        self._expressions = expressions
        self._evaluate = evaluate

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self and key in self._expressions:
            try:
                self[key] = self._evaluate(self._expressions[key])
            except CelError as error:
                raise CelError(f'composited variable "{key}" fails to evaluate: {error}') from None
        return super().get(key, default)


def describe(request: AdmissionRequest, view: View) -> Obj:
    """The request as expressions and webhooks see it (AdmissionRequest of admission.k8s.io/v1, without uid and objects)."""
    resource, seen = request.resource, view.resource
    return {
        "kind": _kind(view.kind), "resource": {"group": seen.group, "version": seen.version, "resource": seen.plural},
        "subResource": request.subresource,
        "requestKind": _kind(request.kind),
        "requestResource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "requestSubResource": request.subresource, "name": request.name, "namespace": _namespace_told(request), "operation": request.operation,
        "userInfo": user_info(request.user), "dryRun": request.dry_run, "options": request.options,
    }  # fmt: skip


def _kind(gvk: tuple[str, str, str]) -> Obj:
    return dict(zip(("group", "version", "kind"), gvk, strict=True))


def _namespace_told(request: AdmissionRequest) -> str:
    """A namespace is told as its own, but for the request that creates it."""
    own = request.resource.group_resource == ("", "namespaces") and request.operation != "CREATE"
    return request.name if own else request.namespace
