"""Nobody can give away what they do not have: the check on writes of roles and bindings.

A role may be written by who holds all that it permits, or may `escalate` it; a binding by who holds all that its role permits, or
may `bind` that role. Members of system:masters may do both. See "Privilege escalation prevention" in the RBAC reference.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.errors import Obj, forbidden_error, not_found_error, show
from pilothouse.apiserver.authz import rules
from pilothouse.apiserver.authz.rbac import GROUP, Rbac
from pilothouse.apiserver.interface import AdmissionRequest, Attributes, Hub, User, Verdict

_ROLES = frozenset(("roles", "clusterroles"))
_BINDINGS = frozenset(("rolebindings", "clusterrolebindings"))
PLURALS = _ROLES | _BINDINGS

_EVERYTHING: tuple[Obj, ...] = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)


class EscalationCheck:
    """Checks one write; `rbac` resolves rules, `hub` decides about the verbs escalate and bind."""

    def __init__(self, hub: Hub, rbac: Rbac) -> None:
        self._hub = hub
        self._rbac = rbac

    def check(self, request: AdmissionRequest) -> None:
        """StatusError 403 if the user would give away more than they have."""
        user, obj = request.user, request.obj
        if obj is None or "system:masters" in user.groups or _only_garbage_collected(obj, request.old):
            return
        if request.resource.plural in _ROLES:
            self._check_role(request, obj)
        else:
            self._check_binding(request, obj)

    def _check_role(self, request: AdmissionRequest, obj: Obj) -> None:
        name = obj["metadata"].get("name", "")
        if self._may(request.user, "escalate", request.resource.plural, request.namespace, name):
            return
        if obj.get("aggregationRule") is not None and self._missing(request.user, "", _EVERYTHING):
            raise forbidden_error(
                GROUP, request.resource.plural, name, "must have cluster-admin privileges to use an aggregationRule"
            )
        self._confirm(request, name, obj.get("rules") or ())

    def _check_binding(self, request: AdmissionRequest, obj: Obj) -> None:
        ref = obj.get("roleRef") or {}
        kind, role = ref.get("kind", ""), ref.get("name", "")
        plural = {"ClusterRole": "clusterroles", "Role": "roles"}.get(kind)
        if plural is None or not role:
            return  # validation says what is wrong with it
        if self._may(request.user, "bind", plural, request.namespace, role):
            return
        found = self._rbac.role_rules(ref, request.namespace)
        if found is None:
            raise not_found_error(GROUP, request.resource.plural, role)
        self._confirm(request, obj["metadata"].get("name", ""), found)

    def _may(self, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
        where = "" if plural == "clusterroles" and not namespace else namespace
        asked = Attributes(user, verb, GROUP, "v1", plural, namespace=where, name=name)
        return self._hub.authorize(asked)[0] is Verdict.ALLOW

    def _missing(self, user: User, namespace: str, wanted: Iterable[Obj]) -> list[Obj]:
        return rules.uncovered(self._rbac.rules_for(user, namespace), wanted)

    def _confirm(self, request: AdmissionRequest, name: str, wanted: Iterable[Obj]) -> None:
        missing = self._missing(request.user, request.namespace, wanted)
        if not missing:
            return
        lines = "\n".join(sorted(rules.text(rule) for rule in rules.compact(missing)))
        groups = " ".join(show(g) for g in request.user.groups)
        why = f"user {show(request.user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{lines}"
        raise forbidden_error(GROUP, request.resource.plural, name, why)


def _only_garbage_collected(obj: Obj, old: Obj | None) -> bool:
    """Whether a write changes no more than the garbage collector does: owner references and finalizers."""
    if old is None:
        return False
    return _rest(obj) == _rest(old)


def _rest(obj: Obj) -> Obj:
    skip = ("ownerReferences", "finalizers", "managedFields", "resourceVersion")
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in skip}}
