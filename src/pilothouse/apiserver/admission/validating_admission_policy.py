"""ValidatingAdmissionPolicy: requests are let in by expressions that policies hold and bindings put to work (KEP-3488)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission import policies
from pilothouse.apiserver.admission.expressions import POLICY_BUDGET, Expressions, Failed, Scope, scope_of
from pilothouse.apiserver.admission.policies import Use
from pilothouse.apiserver.admission.policy_metrics import PolicyMetrics, error_type
from pilothouse.apiserver.admission.versions import view
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_FAILURES = "validation.policy.admission.k8s.io/validation_failure"
_MESSAGE_LIMIT, _ANNOTATION_LIMIT = 5 * 1024, 10 * 1024


@dataclass(frozen=True, slots=True)
class _Failure:
    """An expression that did not hold, or had no value (an error): its place, and what to say."""

    index: int
    reason: str
    text: str
    is_error: bool = False
    seconds: float = 0.0


class ValidatingAdmissionPolicy(AdmissionPlugin):
    name = "ValidatingAdmissionPolicy"
    hub: ApiServer

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._expressions = Expressions()
        self._bindings = policies.Bindings(hub, "validatingadmissionpolicies", "validatingadmissionpolicybindings")
        self._metrics = PolicyMetrics(hub.metrics, "validating")

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return policies.handled(resource)

    async def validate(self, request: AdmissionRequest) -> None:
        found: _Findings | None = None
        for use in self._bindings.uses(request):
            found = found or _Findings(request, self._metrics)
            await self._decide(use, request, found)
        if found is not None:
            found.tell()

    async def _decide(self, use: Use, request: AdmissionRequest, found: _Findings) -> None:
        try:
            params = await policies.params(self.hub, use, request)
        except policies.Unusable as error:
            if use.fails:
                who = f"ValidatingAdmissionPolicy '{use.name}'" if error.of_policy else use.who
                found.deny(who, "Invalid", str(error))
            return
        seen = await view(self.hub.registry, request, use.resource)
        for one in params:
            scope = scope_of(self.hub, request, seen, POLICY_BUDGET, one)
            try:
                if not self._expressions.conditions(use.policy["spec"].get("matchConditions") or (), scope):
                    continue
            except Failed as failed:
                found.failed(use, _Failure(0, "Invalid", str(failed), True))
                continue
            self._evaluate(use, scope, found)

    def _evaluate(self, use: Use, scope: Scope, found: _Findings) -> None:
        spec = use.policy["spec"]
        self._expressions.add_variables(spec.get("variables") or (), scope)
        for failure in self._validations(spec, scope):
            found.failed(use, failure)
        for annotation in spec.get("auditAnnotations") or ():
            begun = self.hub.clock.monotonic()
            try:
                value = self._expressions.value(annotation["valueExpression"], scope)
            except Failed as failed:
                if use.fails:
                    found.failed(use, _Failure(0, "Invalid", str(failed), True, self.hub.clock.monotonic() - begun), ("Deny",))
                continue
            if isinstance(value, str) and value.strip():
                found.annotate(f"{use.name}/{annotation['key']}", value.strip()[:_ANNOTATION_LIMIT])

    def _validations(self, spec: Obj, scope: Scope) -> Iterator[_Failure]:
        """Those that do not hold, or fail."""
        clock = self.hub.clock
        for n, validation in enumerate(spec.get("validations") or ()):
            begun = clock.monotonic()
            try:
                good = self._expressions.value(validation["expression"], scope)
            except Failed as failed:
                yield _Failure(n, "Invalid", str(failed), True, clock.monotonic() - begun)
                continue
            if not good:
                text = self._told(validation, scope)
                yield _Failure(n, validation.get("reason") or "Invalid", text, False, clock.monotonic() - begun)

    def _told(self, validation: Obj, scope: Scope) -> str:
        """The message: of its expression, unless that fails or says nothing on one line; else as written; else the rule."""
        expression = validation.get("messageExpression")
        if expression:
            try:
                text = str(self._expressions.value(expression, scope)).strip()
            except Failed:
                text = ""
            if text and "\n" not in text and len(text) <= _MESSAGE_LIMIT:
                return text
        return (validation.get("message") or "").strip() or f"failed expression: {validation['expression'].strip()}"


class _Findings:
    """What all policies have to say of a request."""

    def __init__(self, request: AdmissionRequest, metrics: PolicyMetrics) -> None:
        self._request = request
        self._metrics = metrics
        self._denied: tuple[str, str] | None = None
        self._audited: list[Obj] = []
        self._annotations: dict[str, list[str]] = {}

    def deny(self, who: str, reason: str, text: str) -> None:
        """Refuse. The first refusal is the one that is told."""
        if self._denied is None:
            self._denied = reason, f"{who} denied request: {text}"

    def failed(self, use: Use, failure: _Failure, actions: Sequence[str] | None = None) -> None:
        """An expression that does not hold; the binding says what is done about it, unless `actions` does."""
        if failure.is_error and not use.fails:
            self._count(use, failure, "allow")
            return
        if actions is None:
            actions = use.binding["spec"].get("validationActions") or ()
        for action in actions:
            self._count(use, failure, action.lower())
        text = failure.text
        if "Warn" in actions:
            self._request.warnings.append(f"Validation failed for {use.who}: {text}")
        if "Audit" in actions:
            told = {"message": text, "policy": use.name, "binding": use.bound, "expressionIndex": failure.index}
            self._audited.append({**told, "validationActions": actions})
        if "Deny" in actions:
            self.deny(use.who, failure.reason, text)

    def _count(self, use: Use, failure: _Failure, action: str) -> None:
        error = error_type(failure.text if failure.is_error else "")
        self._metrics.checked(failure.seconds, use.name, use.bound, error, action)

    def annotate(self, key: str, value: str) -> None:
        values = self._annotations.setdefault(key, [])
        if value not in values:
            values.append(value)

    def tell(self) -> None:
        """StatusError if a policy refuses."""
        self._request.annotations.update((key, ", ".join(values)) for key, values in self._annotations.items())
        if self._audited:
            self._request.annotations[_FAILURES] = orjson.dumps(self._audited).decode()
        if self._denied is not None:
            raise policies.refusal(self._request, *self._denied)
