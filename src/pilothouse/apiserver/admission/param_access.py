"""Who writes an admission policy or its binding must be able to read the parameters that it names. Cannot be switched off.

The values of parameters show in what a policy says and does, so a policy would else be a way to read them. Kubernetes counts this
as validation: it comes before all validating plugins, and is told as an error of the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.api.errors import FieldError, Obj, forbidden, invalid_object
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.matching import GROUP
from pilothouse.apiserver.admission.policies import param_resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Attributes, Hub, User, Verdict

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_POLICIES = frozenset(("validatingadmissionpolicies", "mutatingadmissionpolicies"))
#: Bindings, and the policies they bind.
_BINDINGS = {
    "validatingadmissionpolicybindings": "validatingadmissionpolicies",
    "mutatingadmissionpolicybindings": "mutatingadmissionpolicies",
}


class ParamAccess(AdmissionPlugin):
    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._hub: ApiServer = hub  # type: ignore[assignment]

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        wanted = resource.plural in _POLICIES or resource.plural in _BINDINGS
        return operation in ("CREATE", "UPDATE") and resource.group == GROUP and wanted and not subresource

    async def validate(self, request: AdmissionRequest) -> None:
        obj = request.obj
        if obj is None or "system:masters" in request.user.groups:
            return
        policy = request.resource.plural in _POLICIES
        error = self._of_policy(request, obj) if policy else self._of_binding(request, obj)
        if error is not None:
            raise invalid_object(GROUP, request.resource.kind, obj["metadata"].get("name", ""), [error])

    def _of_policy(self, request: AdmissionRequest, obj: Obj) -> FieldError | None:
        kind = obj["spec"].get("paramKind")
        if kind is None or (request.old is not None and request.old["spec"].get("paramKind") == kind):
            return None
        if self._may(request.user, "get", kind, namespace="*", name="*"):
            return None
        what = f"(kind={kind.get('kind', '')}, apiVersion={kind.get('apiVersion', '')})"
        why = f'user {_text(request.user)} must have "get" permission on all objects of the referenced paramKind {what}'
        return forbidden("spec.paramKind", why)

    def _of_binding(self, request: AdmissionRequest, obj: Obj) -> FieldError | None:
        """Checked at every write: Kubernetes compares references by identity, so none is ever the old one."""
        ref = obj["spec"].get("paramRef")
        if ref is None:
            return None
        plural = _BINDINGS[request.resource.plural]
        policy = self._hub.cache(GROUP, plural).get("", obj["spec"].get("policyName", ""))
        kind = policy.obj["spec"].get("paramKind") if policy is not None else None
        mutating = plural == "mutatingadmissionpolicies"
        verb = "list" if mutating and not ref.get("name") else "get"
        if self._may(request.user, verb, kind, namespace=ref.get("namespace", ""), name=ref.get("name", "")):
            return None
        who = _text(request.user)
        who, verb = (verb, who) if mutating else (who, verb)  # so does Kubernetes
        return forbidden("spec.paramRef", f'user {who} does not have "{verb}" permission on the object referenced by paramRef')

    def _may(self, user: User, verb: str, kind: Obj | None, *, namespace: str, name: str) -> bool:
        """Whether a user may do something with parameters of a kind; with anything at all, where it is not known."""
        group, version, plural = "*", "*", "*"
        if kind is not None:
            group, _, version = kind.get("apiVersion", "").rpartition("/")
            served = param_resource(self._hub, kind)
            plural = served.resource.plural if served is not None else "*"
        asked = Attributes(user, verb, group, version, plural, namespace=namespace, name=name)
        return self._hub.authorize(asked)[0] is Verdict.ALLOW


def _text(user: User) -> str:
    """A user as Go prints one."""
    extra = " ".join(f"{key}:[{' '.join(values)}]" for key, values in sorted(user.extra.items()))
    return f"&{{{user.name} {user.uid} [{' '.join(user.groups)}] map[{extra}]}}"
