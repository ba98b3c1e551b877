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
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.api.schema import Schema
from pilothouse.apiserver.admission import mutation, policies
from pilothouse.apiserver.admission.expressions import POLICY_BUDGET, Expressions, Failed, Scope, scope_of
from pilothouse.apiserver.admission.policies import Use
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

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation != "DELETE" and policies.handled(resource)

    async def admit(self, request: AdmissionRequest) -> None:
        found = list(self._bindings.uses(request))
        if not found:
            return
        again = Reinvocation.of(request, self.name)
        again.begin(request)
        wrong: list[str] = []
        for use in sorted(found, key=lambda u: u.name):
            try:
                await self._use(use, request, again)
            except (policies.Unusable, Failed) as error:
                if use.fails:
                    wrong.append(f"policy '{use.name}' with binding '{use.binding['metadata']['name']}' denied request: {error}")
        again.end(request)
        if wrong:
            raise _refusal(request, wrong)

    async def _use(self, use: Use, request: AdmissionRequest, again: Reinvocation) -> None:
        """Carry out a policy with each of its parameters."""
        spec = use.policy["spec"]
        for n, one in enumerate(await policies.params(self.hub, use, request)):
            key = f"{use.name}/{use.binding['metadata']['name']}/{n}"
            if not again.wants(request, key):
                continue
            seen = await view(self.hub.registry, request, use.resource)
            scope = scope_of(self.hub, request, seen, POLICY_BUDGET, one)
            if not self._expressions.conditions(spec.get("matchConditions") or (), scope):
                continue
            changed = await self._mutate(use, request, seen, scope)
            again.ran(request, key, changed, spec.get("reinvocationPolicy") == "IfNeeded")

    async def _mutate(self, use: Use, request: AdmissionRequest, seen: View, scope: Scope) -> bool:
        """Carry out a policy's mutations, one after the other. Whether they changed the object."""
        spec, changed = use.policy["spec"], False
        for n, one in enumerate(spec["mutations"]):
            if n:
                seen = await view(self.hub.registry, request, use.resource)
                scope["object"] = seen.obj
            self._expressions.add_variables(spec.get("variables") or (), scope)
            document = self._mutated(one, seen, scope)
            changed |= await mutation.replace(self.hub, request, seen, document)
        return changed

    def _mutated(self, one: Obj, seen: View, scope: Scope) -> Any:
        """The object after one mutation. Failed where it cannot be carried out."""
        if seen.obj is None:
            raise Failed("there is no object to change")
        doc: Obj = orjson.loads(orjson.dumps(seen.obj))
        field = "applyConfiguration" if one["patchType"] == "ApplyConfiguration" else "jsonPatch"
        value = self._expressions.value(one[field]["expression"], scope)
        try:
            if field == "jsonPatch":
                return mutation.patched(doc, parts.operations(value))
            return self._applied(doc, parts.configuration(value), seen)
        except (CelError, ValueError) as error:
            what = "JSON Patch" if field == "jsonPatch" else "error applying patch"
            raise Failed(f"{what}: {error}") from None

    def _applied(self, doc: Obj, config: Obj, seen: View) -> Any:
        """The object with a configuration merged into it. ValueError for one that does not fit the kind."""
        t = type_of(self._schema(seen))
        config = {**config, "kind": doc.get("kind"), "apiVersion": doc.get("apiVersion")}
        wrong = problems(t, config)
        if wrong:
            raise ValueError(f"failed to create typed patch object: {', '.join(wrong)}")
        whole = list(_whole(t, config, ""))
        if whole:
            raise ValueError(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {', '.join(whole)}")
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


def _refusal(request: AdmissionRequest, wrong: list[str]) -> StatusError:
    """403: a policy that has to change the object cannot."""
    resource = request.resource
    details: Obj = {"name": request.name or "Unknown", "kind": resource.plural, "causes": [{"message": text} for text in wrong]}
    if resource.group:
        details["group"] = resource.group
    return StatusError(403, "Forbidden", wrong[0], details)
