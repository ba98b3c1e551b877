"""What validating and mutating admission policies have in common: bindings put policies to work, with parameters (KEP-3488, KEP-3962)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.api.selectors import label_predicate
from pilothouse.apiserver.admission.followed import Followed, too_early
from pilothouse.apiserver.admission.matching import GROUP, matches
from pilothouse.apiserver.interface import AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.registry import Served
    from pilothouse.apiserver.server import ApiServer

_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}
_AUTHN, _AUTHZ = "authentication.k8s.io", "authorization.k8s.io"
#: Policies decide neither about themselves nor about who may do what.
EXEMPT = {
    (_AUTHN, "selfsubjectreviews"), (_AUTHN, "tokenreviews"),
    (_AUTHZ, "localsubjectaccessreviews"), (_AUTHZ, "selfsubjectaccessreviews"), (_AUTHZ, "selfsubjectrulesreviews"),
    (_AUTHZ, "subjectaccessreviews"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Use:
    """A policy that a binding puts to work for a request, which it sees as a request for `resource`."""

    policy: Obj
    binding: Obj
    resource: Resource

    @property
    def fails(self) -> bool:
        """Whatever goes wrong refuses the request."""
        return self.policy["spec"].get("failurePolicy") != "Ignore"

    @property
    def name(self) -> str:
        name: str = self.policy["metadata"]["name"]
        return name

    @property
    def bound(self) -> str:
        """The name of the binding."""
        name: str = self.binding["metadata"]["name"]
        return name

    @property
    def who(self) -> str:
        return f"{self.policy['kind']} '{self.name}' with binding '{self.bound}'"


class Unusable(Exception):
    """A policy or binding that cannot be evaluated as it is configured."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"failed to configure {what}: {why}")
        self.of_policy = what == "policy"


def handled(resource: Resource) -> bool:
    """Whether policies are asked about a resource at all."""
    return resource.group != GROUP and resource.group_resource not in EXEMPT


class Bindings:
    """The policies of one kind that are bound, in the order of their bindings' names."""

    def __init__(self, hub: ApiServer, policies: str, bindings: str) -> None:
        self._hub = hub
        self._followed = Followed(hub, (policies, bindings), _bound)

    def uses(self, request: AdmissionRequest) -> Iterator[Use]:
        """Those that are for a request."""
        hub = self._hub
        if too_early(hub, request):
            return
        for policy, binding in self._followed.get():
            resource = matches(hub, policy["spec"].get("matchConstraints"), request)
            if resource is not None and matches(hub, binding["spec"].get("matchResources"), request) is not None:
                yield Use(policy, binding, resource)


def _bound(policies: list[Obj], bindings: list[Obj]) -> list[tuple[Obj, Obj]]:
    named = {policy["metadata"]["name"]: policy for policy in policies}
    return [(named[b["spec"]["policyName"]], b) for b in bindings if b["spec"]["policyName"] in named]


async def params(hub: ApiServer, use: Use, request: AdmissionRequest) -> list[Obj | None]:
    """The objects that a policy is evaluated with, one after the other. Unusable where there must be some, and are none."""
    kind, ref = use.policy["spec"].get("paramKind"), use.binding["spec"].get("paramRef")
    if not kind:
        return [None]
    served = _param_resource(hub, kind)
    if not ref:
        return [None]
    space = _param_space(served, ref, request)
    if ref.get("name"):
        entry = served.cache.get(space, ref["name"])
        entries = [entry] if entry is not None else []
    else:
        chosen = label_predicate(ref.get("selector"))
        entries = [e for e in served.cache.list(space) if chosen(e.labels)]
    served = await served.ready(entries)
    found: list[Obj | None] = [served.obj(e) for e in entries]
    if not found and ref.get("parameterNotFoundAction") != "Allow":
        raise Unusable("binding", "no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


def param_resource(hub: ApiServer, kind: Obj) -> Served | None:
    """What serves the kind of a policy's parameters."""
    group, _, version = kind.get("apiVersion", "").rpartition("/")
    for served in hub.registry.versions.get((group, version), {}).values():
        if served.stored and served.resource.kind == kind.get("kind"):
            return served
    return None


def _param_resource(hub: ApiServer, kind: Obj) -> Served:
    served = param_resource(hub, kind)
    if served is not None:
        return served
    told = f"'{kind.get('apiVersion')}, Kind={kind.get('kind')}'"
    raise Unusable("policy", f"failed to find resource referenced by paramKind: {told}")


def _param_space(served: Served, ref: Obj, request: AdmissionRequest) -> str:
    """The namespace in which parameters are: the binding's choice, or the request's own."""
    if not served.resource.namespaced:
        if ref.get("namespace"):
            raise Unusable("binding", "paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    space: str = ref.get("namespace") or request.namespace
    if not space:
        raise Unusable("binding", "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    return space


def refusal(request: AdmissionRequest, reason: str, text: str) -> StatusError:
    """The answer of a policy that refuses."""
    resource = request.resource
    name = request.name or "Unknown"
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    details: Obj = {"name": name, "kind": resource.plural, "causes": [{"message": text}]}
    if resource.group:
        details["group"] = resource.group
    return StatusError(_CODES.get(reason, 422), reason, f'{qualified} "{name}" is forbidden: {text}', details)
