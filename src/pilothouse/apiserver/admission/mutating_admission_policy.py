"""MutatingAdmissionPolicy: objects are changed by expressions that policies hold and bindings put to work (KEP-3962).

An ApplyConfiguration is merged into the object by the kind's schema, a JSONPatch is carried out on it; each mutation sees what those before
it made. Policies run in the order of their names, and once more where they want to and something changed the object after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api import tables
from pilothouse.api.apply.check import problems
from pilothouse.api.apply.typed import merge
from pilothouse.api.apply.types import LEAF, Type, type_of
from pilothouse.api.cel import mutation as parts
from pilothouse.api.cel.errors import CelError
from pilothouse.api.errors import Obj, StatusError, quote
from pilothouse.api.resource import Resource
from pilothouse.api.schema import Schema
from pilothouse.apiserver.admission import mutation, policies
from pilothouse.apiserver.admission.expressions import POLICY_BUDGET, Expressions, Failed, Scope, scope_of
from pilothouse.apiserver.admission.policies import Use
from pilothouse.apiserver.admission.policy_metrics import PolicyMetrics, error_type
from pilothouse.apiserver.admission.reinvocation import Reinvocation
from pilothouse.apiserver.admission.versions import View, view
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer


class MutatingAdmissionPolicy(AdmissionPlugin):
    name = "MutatingAdmissionPolicy"
    hub: ApiServer

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._expressions = Expressions(parts.messages)
        self._bindings = policies.Bindings(hub, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
        self._metrics = PolicyMetrics(hub.metrics, "mutating")

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation != "DELETE" and policies.handled(resource)

    async def admit(self, request: AdmissionRequest) -> None:
        found = list(self._bindings.uses(request))
        if not found:
            return
        again = Reinvocation.of(request, self.name)
        again.begin(request)
        wrong = _Wrong(request)
        for use in sorted(found, key=lambda u: u.name):
            try:
                params = await policies.params(self.hub, use, request)
            except policies.Unusable as error:
                wrong.add(use, str(error), binding=not error.of_policy)
                continue
            for n, one in enumerate(params):
                await self._use(use, request, again, f"{use.name}/{use.bound}/{n}", one, wrong)
        again.end(request)
        wrong.tell()

    async def _use(
        self, use: Use, request: AdmissionRequest, again: Reinvocation, key: str, params: Obj | None, wrong: _Wrong
    ) -> None:
        """Carry out a policy with one of its parameters."""
        spec = use.policy["spec"]
        seen = await view(self.hub.registry, request, use.resource)
        scope = scope_of(self.hub, request, seen, POLICY_BUDGET, params)
        try:
            wanted = self._expressions.conditions(spec.get("matchConditions") or (), scope)
        except Failed as failed:
            wrong.add(use, str(failed), "Invalid")
            return
        if not wanted or not again.wants(request, key):
            return
        changed = False
        for one in spec["mutations"]:
            begun, why = self.hub.clock.monotonic(), ""
            try:
                changed |= await self._mutate(use, request, one, scope)
            except Failed as failed:
                why = str(failed)
                wrong.add(use, why, "Invalid")
            self._metrics.checked(self.hub.clock.monotonic() - begun, use.name, use.bound, error_type(why))
        again.ran(request, key, changed, spec.get("reinvocationPolicy") == "IfNeeded")

    async def _mutate(self, use: Use, request: AdmissionRequest, one: Obj, scope: Scope) -> bool:
        """Carry out one mutation of what those before it made. Whether it changed the object; Failed where that cannot be done."""
        seen = await view(self.hub.registry, request, use.resource)
        if seen.obj is None:
            return False
        scope["object"] = seen.obj
        self._expressions.add_variables(use.policy["spec"].get("variables") or (), scope)
        doc: Obj = orjson.loads(orjson.dumps(seen.obj))
        if one["patchType"] == "JSONPatch":
            try:
                document = self._patched(doc, self._expressions.value(one["jsonPatch"]["expression"], scope))
            except mutation.TestFailed:
                return False
            return await mutation.replace(self.hub, request, seen, document, strict=True)
        value = self._expressions.value(one["applyConfiguration"]["expression"], scope)
        return await mutation.replace(self.hub, request, seen, self._applied(doc, value, seen))

    def _patched(self, doc: Obj, value: Any) -> Any:
        try:
            operations = parts.operations(value)
        except CelError as error:
            raise Failed(f"type mismatch: {error}") from None
        try:
            return mutation.patched(doc, operations)
        except mutation.TestFailed:
            raise
        except ValueError as error:
            raise Failed(f"JSONPath: {error}") from None

    def _applied(self, doc: Obj, value: Any, seen: View) -> Any:
        """The object with a configuration merged into it. Failed for one that does not fit the kind."""
        try:
            config = parts.configuration(value)
        except CelError as error:
            raise Failed(f"type mismatch: {error}") from None
        t = type_of(self._schema(seen))
        config = {**config, "kind": doc.get("kind"), "apiVersion": doc.get("apiVersion")}
        wrong = problems(t, config)
        if wrong:
            raise Failed(f"error applying patch: failed to convert patch object to typed object: {', '.join(wrong)}")
        whole = list(_whole(t, config, ""))
        if whole:
            what = "may not mutate atomic arrays, maps or structs"
            raise Failed(f"error applying patch: invalid ApplyConfiguration: {what}: {', '.join(whole)}")
        return merge(t, doc, config)

    def _schema(self, seen: View) -> Schema:
        resource = seen.resource
        if seen.kind == (resource.group, resource.version, resource.kind):
            return self.hub.registry.of(resource.group, resource.plural, resource.version).schema
        return self.hub.registry.schema(*seen.kind) if tables.is_known_kind(*seen.kind) else Schema("any")


def _whole(t: Type, value: Any, path: str) -> Iterator[str]:
    """Lists, maps and structs of a configuration that are owned as a whole: a merge would replace them."""
    if t.kind == LEAF:
        if isinstance(value, dict | list):
            yield path
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _whole(t.child(name), below, f"{path}.{name}")
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _whole(t.items, item, f"{path}[{n}]")


class _Wrong:
    """What could not be carried out, and has to be."""

    def __init__(self, request: AdmissionRequest) -> None:
        self._request = request
        self._told: list[tuple[str, str]] = []

    def add(self, use: Use, why: str, reason: str = "Forbidden", *, binding: bool = True) -> None:
        """Unless the policy ignores failures; `binding` is whether that has to do with it."""
        if use.fails:
            who = f"'{use.name}' with binding '{use.bound}'" if binding else quote(use.name)
            self._told.append((f"policy {who} denied request: {why}", reason))

    def tell(self) -> None:
        """403 with the first of them, if there is any."""
        if not self._told:
            return
        resource, name = self._request.resource, self._request.name or "Unknown"
        details: Obj = {"name": name, "kind": resource.plural, "causes": [{"message": text} for text, _ in self._told]}
        if resource.group:
            details["group"] = resource.group
        text, reason = self._told[0]
        raise StatusError(403, reason, text, details)
