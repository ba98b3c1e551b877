"""ValidatingAdmissionPolicy: requests are let in by expressions that policies hold and bindings put to work (KEP-3488).

Left out for now: parameters of custom kinds, audit annotations (there is no audit log), and rules that
reach the same object through another group or version (`matchPolicy: Equivalent`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pilothouse.api import tables
from pilothouse.api.cel.errors import CelError, CompileError
from pilothouse.api.cel.lib.authz import Check, Decision
from pilothouse.api.cel.program import Program, compile_expression
from pilothouse.api.cel.types import DYN, Type
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.api.selectors import label_predicate
from pilothouse.apiserver.admission.matching import matches
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Attributes, User, Verdict

GROUP = "admissionregistration.k8s.io"
_VARIABLES = {
    **dict.fromkeys(("object", "oldObject", "request", "params", "namespaceObject", "variables"), DYN),
    "authorizer": Type("kubernetes.authorization.Authorizer"),
    "authorizer.requestResource": Type("kubernetes.authorization.ResourceCheck"),
}
_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}
_REMEMBERED = 1000


class ValidatingAdmissionPolicy(AdmissionPlugin):
    name = "ValidatingAdmissionPolicy"

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._programs: dict[str, Program] = {}

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return resource.group != GROUP

    async def validate(self, request: AdmissionRequest) -> None:
        denied: tuple[str, str] | None = None
        for binding in self.hub.cache(GROUP, "validatingadmissionpolicybindings").list():
            for reason, text, actions in self._decide(binding.obj, request):
                if "Warn" in actions:
                    request.warnings.append(f"Validation failed for {text[0]}: {text[1]}")
                if "Deny" in actions and denied is None:
                    denied = reason, f"{text[0]} denied request: {text[1]}"
        if denied is not None:
            raise refusal(request, *denied)

    def _decide(self, binding: Obj, request: AdmissionRequest) -> Iterator[tuple[str, tuple[str, str], list[str]]]:
        spec = binding["spec"]
        entry = self.hub.cache(GROUP, "validatingadmissionpolicies").get("", spec.get("policyName", ""))
        if entry is None:
            return
        policy = entry.obj
        if not (
            matches(self.hub, policy["spec"].get("matchConstraints"), request)
            and matches(self.hub, spec.get("matchResources"), request)
        ):
            return
        who = f"ValidatingAdmissionPolicy '{policy['metadata']['name']}' with binding '{binding['metadata']['name']}'"
        for reason, text in self._evaluate(policy["spec"], spec, request):
            yield reason, (who, text), spec.get("validationActions") or []

    def _evaluate(self, policy: Obj, binding: Obj, request: AdmissionRequest) -> Iterator[tuple[str, str]]:
        """Why a policy refuses: reason and message of each."""
        fails = policy.get("failurePolicy") != "Ignore"
        params, missing = self._params(policy, binding, request)
        if missing:
            if fails:
                yield "Invalid", missing
            return
        for one in params:
            scope = self._scope(policy, request, one)
            try:
                wanted = all(self._value(c["expression"], scope) for c in policy.get("matchConditions") or ())
            except _Failed as failed:
                if fails:
                    yield "Invalid", str(failed)
                continue
            if wanted:
                yield from self._validations(policy, scope, fails)

    def _validations(self, policy: Obj, scope: Obj, fails: bool) -> Iterator[tuple[str, str]]:
        for validation in policy.get("validations") or ():
            try:
                good = self._value(validation["expression"], scope)
            except _Failed as failed:
                if fails:
                    yield "Invalid", str(failed)
                continue
            if not good:
                yield validation.get("reason") or "Invalid", self._told(validation, scope)

    def _told(self, validation: Obj, scope: Obj) -> str:
        """The message: of its expression, unless that fails or says nothing on one line; else as written; else the rule."""
        expression = validation.get("messageExpression")
        if expression:
            try:
                text = str(self._value(expression, scope)).strip()
            except _Failed:
                text = ""
            if text and "\n" not in text and len(text) <= 5 * 1024:
                return text
        return (validation.get("message") or "").strip() or f"failed expression: {validation['expression'].strip()}"

    # --- what expressions see ------------------------------------------------------------------------------------------------------

    def _scope(self, policy: Obj, request: AdmissionRequest, params: Obj | None) -> Obj:
        scope: Obj = {"object": request.obj, "oldObject": request.old, "params": params, "request": lambda: describe(request)}
        scope["authorizer"] = check = Check(self._decider(request), "Authorizer")
        scope["authorizer.requestResource"] = _own(check, request)
        scope["namespaceObject"] = lambda: self._namespace(request)
        expressions = {v["name"]: v["expression"] for v in policy.get("variables") or ()}
        scope["variables"] = _Variables(expressions, lambda text: self._program(text).evaluate(scope)[0])
        return scope

    def _namespace(self, request: AdmissionRequest) -> Obj | None:
        entry = self.hub.cache("", "namespaces").get("", request.namespace) if request.namespace else None
        return entry.obj if entry is not None else None

    def _decider(self, request: AdmissionRequest) -> Callable[[tuple[str, str] | None, Mapping[str, str]], Decision]:
        """Answers what the request's user may do, or a service account."""

        def decide(account: tuple[str, str] | None, asked: Mapping[str, str]) -> Decision:
            user = request.user if account is None else _service_account(*account)
            verdict, why = self.hub.authorize(Attributes(user, **asked))
            return Decision(verdict is Verdict.ALLOW, why)

        return decide

    def _program(self, text: str) -> Program:
        found = self._programs.get(text)
        if found is None:
            if len(self._programs) >= _REMEMBERED:
                self._programs.clear()
            found = self._programs[text] = compile_expression(text, _VARIABLES)
        return found

    def _value(self, text: str, scope: Obj) -> Any:
        try:
            return self._program(text).evaluate(scope)[0]
        except CelError as error:
            raise _Failed(f"expression '{text.strip()}' resulted in error: {error}") from None
        except CompileError as error:
            raise _Failed(f"compilation error: compilation failed: {error}") from None

    def _params(self, policy: Obj, binding: Obj, request: AdmissionRequest) -> tuple[list[Obj | None], str]:
        """The objects that a policy is evaluated with, one after the other; or why there are none where there must be."""
        kind, ref = policy.get("paramKind"), binding.get("paramRef")
        if not kind or not ref:
            return [None], ""
        group, _, version = kind.get("apiVersion", "").rpartition("/")
        known = [r for r in tables.RESOURCES if (r.group, r.version, r.kind) == (group, version, kind.get("kind"))]
        if not known:
            return (
                [],
                f"failed to configure policy: failed to find resource referenced by paramKind: '{kind.get('apiVersion')}, Kind={kind.get('kind')}'",
            )
        space = (ref.get("namespace") or request.namespace) if known[0].namespaced else ""
        cache = self.hub.cache(group, known[0].plural)
        if ref.get("name"):
            entry = cache.get(space, ref["name"])
            found: list[Obj | None] = [entry.obj] if entry is not None else []
        else:
            chosen = label_predicate(ref.get("selector"))
            found = [e.obj for e in cache.list(space) if chosen(e.obj["metadata"].get("labels") or {})]
        if not found and ref.get("parameterNotFoundAction") != "Allow":
            return [], "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        return found, ""


def _service_account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


def _own(check: Check, request: AdmissionRequest) -> Check:
    """The request's own resource, to be asked about with any verb."""
    resource = request.resource
    return check.step(
        "ResourceCheck", group=resource.group, version=resource.version, resource=resource.plural, subresource=request.subresource,
        namespace=request.namespace, name=request.name,
    )  # fmt: skip


class _Failed(Exception):
    """An expression that had no value."""


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


def describe(request: AdmissionRequest) -> Obj:
    """The request as expressions see it (AdmissionRequest of admission.k8s.io/v1, without the objects)."""
    resource, user = request.resource, request.user
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    which = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    return {
        "kind": kind, "resource": which, "subResource": request.subresource,
        "requestKind": kind, "requestResource": which, "requestSubResource": request.subresource,
        "name": request.name, "namespace": request.namespace, "operation": request.operation,
        "userInfo": {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": {k: list(v) for k, v in user.extra.items()}},
        "dryRun": request.dry_run, "options": request.options,
    }  # fmt: skip


def refusal(request: AdmissionRequest, reason: str, text: str) -> StatusError:
    """The answer of a policy that refuses."""
    resource = request.resource
    name = request.name or "Unknown"
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    details: Obj = {"name": name, "kind": resource.plural, "causes": [{"message": text}]}
    if resource.group:
        details["group"] = resource.group
    return StatusError(_CODES.get(reason, 422), reason, f'{qualified} "{name}" is forbidden: {text}', details)
