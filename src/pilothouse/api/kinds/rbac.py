"""Role, ClusterRole, RoleBinding, ClusterRoleBinding (rbac.authorization.k8s.io/v1).

Whether a user may write what a role grants is admission's business (privilege escalation), not validation's.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import named, some_of
from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.selectors import validate_label_selector
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age

GROUP = "rbac.authorization.k8s.io"
_SUBJECT_KINDS = ("ServiceAccount", "User", "Group")


class _RbacStrategy(Strategy):
    allow_create_on_update = True

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.path_segment(name, prefix)


class RoleStrategy(_RbacStrategy):
    columns = (NAME_COLUMN, Column("Created At", "date"))
    namespaced_rules = True

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        for n, rule in enumerate(obj.get("rules") or ()):
            out += _validate_rule(rule, f"rules[{n}]", self.namespaced_rules)
        return out


class ClusterRoleStrategy(RoleStrategy):
    namespaced_rules = False

    def validate(self, obj: Obj) -> list[FieldError]:
        out = super().validate(obj)
        aggregation = obj.get("aggregationRule")
        return out if aggregation is None else out + _validate_aggregation(aggregation)


class RoleBindingStrategy(_RbacStrategy):
    columns = (
        NAME_COLUMN,
        Column("Role"),
        AGE_COLUMN,
        Column("Users", priority=1),
        Column("Groups", priority=1),
        Column("ServiceAccounts", priority=1),
    )
    role_kinds: tuple[str, ...] = ("Role", "ClusterRole")

    def default(self, obj: Obj) -> None:
        ref = obj.setdefault("roleRef", {})
        if not ref.get("apiGroup"):
            ref["apiGroup"] = GROUP
        for subject in obj.get("subjects") or ():
            if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = GROUP

    def validate(self, obj: Obj) -> list[FieldError]:
        ref = obj["roleRef"]
        out = some_of("roleRef.apiGroup", ref["apiGroup"], (GROUP,))
        out += some_of("roleRef.kind", ref.get("kind") or "", self.role_kinds)
        name = ref.get("name") or ""
        out += named("roleRef.name", name, names.path_segment(name)) if name else [required("roleRef.name")]
        for n, subject in enumerate(obj.get("subjects") or ()):
            out += _validate_subject(subject, f"subjects[{n}]", self.resource.namespaced)
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        ref = obj["roleRef"]
        if ref != old["roleRef"]:
            shown = {"APIGroup": ref.get("apiGroup", ""), "Kind": ref.get("kind", ""), "Name": ref.get("name", "")}
            out.append(invalid("roleRef", shown, "cannot change roleRef"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
        for s in obj.get("subjects") or ():
            namespace = s.get("namespace") if s.get("kind") == "ServiceAccount" else ""
            by_kind.setdefault(s.get("kind", ""), []).append(f"{namespace}/{s['name']}" if namespace else s.get("name", ""))
        ref = obj["roleRef"]
        told = [", ".join(by_kind[k]) for k in ("User", "Group", "ServiceAccount")]
        return [obj["metadata"]["name"], f"{ref.get('kind')}/{ref.get('name')}", age(obj, now), *told]


class ClusterRoleBindingStrategy(RoleBindingStrategy):
    role_kinds = ("ClusterRole",)


def _validate_rule(rule: Obj, path: str, namespaced: bool) -> list[FieldError]:
    out: list[FieldError] = []
    if not rule.get("verbs"):
        out.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            out.append(invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            told = "rules cannot apply to both regular resources and non-resource URLs"
            out.append(invalid(f"{path}.nonResourceURLs", urls, told))
        return out
    if not rule.get("apiGroups"):
        out.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        out.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return out


def _validate_aggregation(rule: Obj) -> list[FieldError]:
    path, selectors = "aggregationRule.clusterRoleSelectors", rule.get("clusterRoleSelectors") or ()
    if not selectors:
        return [required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    out: list[FieldError] = []
    for n, selector in enumerate(selectors):
        wrong = validate_label_selector(selector, f"{path}[{n}]")
        if wrong:
            out += [*wrong, invalid(f"{path}[{n}]", None, "invalid label selector.")]
    return out


def _validate_subject(subject: Obj, path: str, namespaced: bool) -> list[FieldError]:
    kind, name, group = subject.get("kind") or "", subject.get("name") or "", subject.get("apiGroup") or ""
    out = [] if name else [required(f"{path}.name")]
    if kind not in _SUBJECT_KINDS:
        return out + some_of(f"{path}.kind", kind, _SUBJECT_KINDS)
    if kind != "ServiceAccount":
        return out + some_of(f"{path}.apiGroup", group, (GROUP,))
    if name:
        out += named(f"{path}.name", name, names.dns1123_subdomain(name))
    out += some_of(f"{path}.apiGroup", group, ("",))
    if not namespaced and not subject.get("namespace"):
        out.append(required(f"{path}.namespace"))
    return out
