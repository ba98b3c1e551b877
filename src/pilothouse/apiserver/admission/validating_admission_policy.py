"""ValidatingAdmissionPolicy: requests are let in by expressions that policies hold and bindings put to work (KEP-3488)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission import policies
from pilothouse.apiserver.admission.expressions import POLICY_BUDGET, Expressions, Failed, Scope, scope_of
from pilothouse.apiserver.admission.policies import Use
from pilothouse.apiserver.admission.versions import view
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_FAILURES = "validation.policy.admission.k8s.io/validation_failure"
_MESSAGE_LIMIT, _ANNOTATION_LIMIT = 5 * 1024, 10 * 1024


class ValidatingAdmissionPolicy(AdmissionPlugin):
    name = "ValidatingAdmissionPolicy"
    hub: ApiServer

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._expressions = Expressions()
        self._bindings = policies.Bindings(hub, "validatingadmissionpolicies", "validatingadmissionpolicybindings")

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return policies.handled(resource)

    async def validate(self, request: AdmissionRequest) -> None:
        found: _Findings | None = None
        for use in self._bindings.uses(request):
            found = found or _Findings(request)
            await self._decide(use, request, found)
        if found is not None:
            found.tell()

    async def _decide(self, use: Use, request: AdmissionRequest, found: _Findings) -> None:
        try:
            params = await policies.params(self.hub, use, request)
        except policies.Unusable as error:
            if use.fails:
                found.deny(use, "Invalid", str(error))
            return
        seen = await view(self.hub.registry, request, use.resource)
        for one in params:
            scope = scope_of(self.hub, request, seen, POLICY_BUDGET, one)
            try:
                if not self._expressions.conditions(use.policy["spec"].get("matchConditions") or (), scope):
                    continue
            except Failed as failed:
                if use.fails:
                    found.refused(use, 0, "Invalid", str(failed))
                continue
            self._evaluate(use, scope, found)

    def _evaluate(self, use: Use, scope: Scope, found: _Findings) -> None:
        spec = use.policy["spec"]
        self._expressions.add_variables(spec.get("variables") or (), scope)
        for n, reason, text in self._validations(spec, scope, use.fails):
            found.refused(use, n, reason, text)
        for annotation in spec.get("auditAnnotations") or ():
            try:
                value = self._expressions.value(annotation["valueExpression"], scope)
            except Failed as failed:
                if use.fails:
                    found.deny(use, "Invalid", str(failed))
                continue
            if isinstance(value, str) and value.strip():
                found.annotate(f"{use.name}/{annotation['key']}", value.strip()[:_ANNOTATION_LIMIT])

    def _validations(self, spec: Obj, scope: Scope, fails: bool) -> Iterator[tuple[int, str, str]]:
        """The place, reason and message of each validation that refuses."""
        for n, validation in enumerate(spec.get("validations") or ()):
            try:
                good = self._expressions.value(validation["expression"], scope)
            except Failed as failed:
                if fails:
                    yield n, "Invalid", str(failed)
                continue
            if not good:
                yield n, validation.get("reason") or "Invalid", self._told(validation, scope)

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

    def __init__(self, request: AdmissionRequest) -> None:
        self._request = request
        self._denied: tuple[str, str] | None = None
        self._audited: list[Obj] = []
        self._annotations: dict[str, list[str]] = {}

    def deny(self, use: Use, reason: str, text: str) -> None:
        """Refuse, whatever the binding makes of refusals. The first refusal is the one that is told."""
        if self._denied is None:
            self._denied = reason, f"{use.who} denied request: {text}"

    def refused(self, use: Use, index: int, reason: str, text: str) -> None:
        """A validation that does not hold; the binding says what is done about it."""
        actions = use.binding["spec"].get("validationActions") or []
        if "Warn" in actions:
            self._request.warnings.append(f"Validation failed for {use.who}: {text}")
        if "Audit" in actions:
            told = {"message": text, "policy": use.name, "binding": use.binding["metadata"]["name"], "expressionIndex": index}
            self._audited.append({**told, "validationActions": actions})
        if "Deny" in actions:
            self.deny(use, reason, text)

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
