"""Role-based access control: bindings give subjects roles, roles permit.

Decisions are made from an index of bindings by subject, kept by the caches' subscriptions, and remembered per (user, verb,
resource, namespace) until any role or binding changes. Remembered is for which names the request is allowed, so that requests
about different objects share one decision. Cluster bindings are looked at before those of the namespace; the first rule that
permits is the reason given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pilothouse.api.errors import Obj
from pilothouse.apiserver.authz.rules import allows, names_of
from pilothouse.apiserver.interface import Attributes, Hub, User, Verdict

GROUP = "rbac.authorization.k8s.io"
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Grant:
    """A role that a user has through a binding, and the words for it."""

    rules: tuple[Obj, ...]
    reason: str


class _Decision:
    """For one user and kind of request: allowed at all (with a reason), allowed for some names, or neither.

    `by_name` has what rules before the one behind `always` say, so it comes first.
    """

    __slots__ = ("always", "by_name", "problem")

    def __init__(self) -> None:
        self.always: str | None = None
        self.by_name: dict[str, str] = {}
        self.problem = ""


class Rbac:
    """The RBAC authorizer, and the resolver of a user's rules for escalation checks and rules reviews."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._decisions: dict[tuple[str, ...], _Decision] = {}
        self._index: _Index | None = None
        for plural in ("roles", "clusterroles"):
            hub.cache(GROUP, plural).subscribe(self._role_changed)
        for plural in ("rolebindings", "clusterrolebindings"):
            hub.cache(GROUP, plural).subscribe(self._binding_changed)

    def _role_changed(self, type: str, obj: Obj, previous: Obj | None) -> None:
        self._decisions.clear()

    def _binding_changed(self, type: str, obj: Obj, previous: Obj | None) -> None:
        self._decisions.clear()
        self._index = None

    # --- deciding ---------------------------------------------------------------------------------------------------------

    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]:
        if not attributes.resource:
            return self._authorize_path(attributes)
        decision = self._decision(attributes)
        found = decision.by_name.get(attributes.name) if attributes.name else None
        if found is None:
            found = decision.always
        return (Verdict.ALLOW, found) if found is not None else (Verdict.NO_OPINION, decision.problem)

    def _decision(self, attributes: Attributes) -> _Decision:
        user = attributes.user
        key = (
            user.name, attributes.verb, attributes.group, attributes.resource, attributes.subresource, attributes.namespace, *user.groups
        )  # fmt: skip
        found = self._decisions.get(key)
        if found is None:
            found = self._decide(attributes)
            self._remember(key, found)
        return found

    def _remember(self, key: tuple[str, ...], decision: _Decision) -> None:
        if len(self._decisions) >= _REMEMBERED:
            self._decisions.clear()
        self._decisions[key] = decision

    def _decide(self, attributes: Attributes) -> _Decision:
        decision = _Decision()
        problems: list[str] = []
        for grant in self.grants(attributes.user, attributes.namespace, problems):
            for rule in grant.rules:
                names = names_of(rule, attributes)
                if names is None:
                    continue
                if not names:
                    decision.always = grant.reason
                    return decision
                for name in names:
                    decision.by_name.setdefault(name, grant.reason)
        decision.problem = _problem_text(problems)
        return decision

    def _authorize_path(self, attributes: Attributes) -> tuple[Verdict, str]:
        key = (attributes.user.name, attributes.verb, attributes.path, *attributes.user.groups)
        found = self._decisions.get(key)
        if found is None:
            found = _Decision()
            problems: list[str] = []
            granted = (
                g.reason for g in self.grants(attributes.user, "", problems) if any(allows(r, attributes) for r in g.rules)
            )
            found.always = next(granted, None)
            found.problem = _problem_text(problems)
            self._remember(key, found)
        return (Verdict.ALLOW, found.always) if found.always is not None else (Verdict.NO_OPINION, found.problem)

    # --- what a user has ----------------------------------------------------------------------------------------------------

    def rules_for(self, user: User, namespace: str, problems: list[str] | None = None) -> list[Obj]:
        """All rules that a user has in a namespace ("": in the whole cluster only)."""
        return [rule for grant in self.grants(user, namespace, problems if problems is not None else []) for rule in grant.rules]

    def grants(self, user: User, namespace: str, problems: list[str]) -> Iterator[Grant]:
        """The user's roles, those of cluster bindings first. What could not be resolved is added to `problems`."""
        index = self._index
        if index is None:
            index = self._index = _Index(self._hub)
        for binding, subject in index.cluster_bindings(user):
            yield from self._grant(binding, "", subject, problems)
        if namespace:
            for binding, subject in index.bindings(user, namespace):
                yield from self._grant(binding, namespace, subject, problems)

    def _grant(self, binding: Obj, namespace: str, subject: Obj, problems: list[str]) -> Iterator[Grant]:
        ref = binding["roleRef"]
        rules = self.role_rules(ref, namespace)
        if rules is None:
            problems.append(f'{ref["kind"].lower()}.{GROUP} "{ref["name"]}" not found')
            return
        yield Grant(rules, _reason(binding, namespace, ref, subject))

    def role_rules(self, ref: Obj, namespace: str) -> tuple[Obj, ...] | None:
        """The rules of the role that a roleRef names; None if there is no such role."""
        if ref["kind"] == "ClusterRole":
            entry = self._hub.cache(GROUP, "clusterroles").get("", ref["name"])
        else:
            entry = self._hub.cache(GROUP, "roles").get(namespace, ref["name"])
        return tuple(entry.obj.get("rules") or ()) if entry is not None else None


class _Index:
    """All bindings by the users and groups that they name. Made anew after a change of bindings, when next asked."""

    def __init__(self, hub: Hub) -> None:
        self._cluster: dict[str, list[tuple[Obj, Obj]]] = {}
        self._in_namespace: dict[tuple[str, str], list[tuple[Obj, Obj]]] = {}
        for binding in _sorted(hub, "clusterrolebindings"):
            for subject in binding.get("subjects") or ():
                self._cluster.setdefault(_subject_key(subject, ""), []).append((binding, subject))
        for binding in _sorted(hub, "rolebindings"):
            namespace = binding["metadata"]["namespace"]
            for subject in binding.get("subjects") or ():
                self._in_namespace.setdefault((namespace, _subject_key(subject, namespace)), []).append((binding, subject))

    def cluster_bindings(self, user: User) -> list[tuple[Obj, Obj]]:
        return _in_order([self._cluster.get(key, ()) for key in _user_keys(user)])

    def bindings(self, user: User, namespace: str) -> list[tuple[Obj, Obj]]:
        return _in_order([self._in_namespace.get((namespace, key), ()) for key in _user_keys(user)])


def _sorted(hub: Hub, plural: str) -> list[Obj]:
    found = [entry.obj for entry in hub.cache(GROUP, plural).list()]
    return sorted(found, key=lambda b: (b["metadata"].get("namespace", ""), b["metadata"]["name"]))


def _in_order(lists: list) -> list[tuple[Obj, Obj]]:
    """Bindings by name, each once (a user may be named by several subjects of one: the first counts)."""
    found = [pair for pairs in lists for pair in pairs]
    found.sort(key=lambda pair: (pair[0]["metadata"]["name"], pair[0]["subjects"].index(pair[1])))
    seen: set[str] = set()
    out = []
    for pair in found:
        name = pair[0]["metadata"]["name"]
        if name not in seen:
            seen.add(name)
            out.append(pair)
    return out


def _user_keys(user: User) -> list[str]:
    return [f"User:{user.name}", *(f"Group:{g}" for g in user.groups)]


def _subject_key(subject: Obj, namespace: str) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"User:system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
    return f"{subject['kind']}:{subject['name']}"


def _reason(binding: Obj, namespace: str, ref: Obj, subject: Obj) -> str:
    name = binding["metadata"]["name"]
    kind, full = ("RoleBinding", f"{name}/{namespace}") if namespace else ("ClusterRoleBinding", name)
    whom = f"{subject['name']}/{subject.get('namespace', '')}" if subject["kind"] == "ServiceAccount" else subject["name"]
    return f'RBAC: allowed by {kind} "{full}" of {ref["kind"]} "{ref["name"]}" to {subject["kind"]} "{whom}"'


def _problem_text(problems: list[str]) -> str:
    """Why a decision may be incomplete, in the words of a refusal."""
    if not problems:
        return ""
    return "RBAC: " + (problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]")
