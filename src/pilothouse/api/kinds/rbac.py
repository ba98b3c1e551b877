"""Role, ClusterRole, RoleBinding, ClusterRoleBinding (rbac.authorization.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age

GROUP = "rbac.authorization.k8s.io"


class _RbacStrategy(Strategy):
    allow_create_on_update = True

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.path_segment(name, prefix)


class RoleStrategy(_RbacStrategy):
    columns = (NAME_COLUMN, Column("Created At", "date"))
    namespaced_rules = True

    def validate(self, obj: Obj) -> list[FieldError]:
        return [
            e for n, rule in enumerate(obj.get("rules") or ()) for e in _validate_rule(rule, f"rules[{n}]", self.namespaced_rules)
        ]


class ClusterRoleStrategy(RoleStrategy):
    namespaced_rules = False


class RoleBindingStrategy(_RbacStrategy):
    columns = (
        NAME_COLUMN,
        Column("Role"),
        AGE_COLUMN,
        Column("Users", priority=1),
        Column("Groups", priority=1),
        Column("ServiceAccounts", priority=1),
    )
    role_kinds: tuple[str, ...] = ("ClusterRole", "Role")

    def default(self, obj: Obj) -> None:
        ref = obj.setdefault("roleRef", {})
        if not ref.get("apiGroup"):
            ref["apiGroup"] = GROUP
        for s in obj.get("subjects") or ():
            if not s.get("apiGroup") and s.get("kind") in ("User", "Group"):
                s["apiGroup"] = GROUP

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        ref = obj["roleRef"]
        if ref["apiGroup"] != GROUP:
            out.append(not_supported("roleRef.apiGroup", ref["apiGroup"], (GROUP,)))
        if ref.get("kind") not in self.role_kinds:
            out.append(not_supported("roleRef.kind", ref.get("kind") or "", self.role_kinds))
        if not ref.get("name"):
            out.append(required("roleRef.name"))
        else:
            out += [invalid("roleRef.name", ref["name"], m) for m in names.path_segment(ref["name"])]
        for n, s in enumerate(obj.get("subjects") or ()):
            out += _validate_subject(s, f"subjects[{n}]", self.resource.namespaced)
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        return out if obj["roleRef"] == old["roleRef"] else [*out, invalid("roleRef", obj["roleRef"], "cannot change roleRef")]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
        for s in obj.get("subjects") or ():
            name = (
                f"{s['namespace']}/{s['name']}" if s.get("kind") == "ServiceAccount" and s.get("namespace") else s.get("name", "")
            )
            by_kind.setdefault(s.get("kind", ""), []).append(name)
        ref = obj["roleRef"]
        told = [", ".join(by_kind[k]) for k in ("User", "Group", "ServiceAccount")]
        return [obj["metadata"]["name"], f"{ref.get('kind')}/{ref.get('name')}", age(obj, now), *told]


class ClusterRoleBindingStrategy(RoleBindingStrategy):
    role_kinds = ("ClusterRole",)


def _validate_rule(rule: Obj, path: str, namespaced: bool) -> list[FieldError]:
    out: list[FieldError] = []
    if not rule.get("verbs"):
        out.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.get("nonResourceURLs"):
        if namespaced:
            out.append(
                invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs")
            )
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            out.append(
                invalid(
                    f"{path}.nonResourceURLs",
                    rule["nonResourceURLs"],
                    "rules cannot apply to both regular resources and non-resource URLs",
                )
            )
        return out
    if not rule.get("apiGroups"):
        out.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        out.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return out


def _validate_subject(s: Obj, path: str, namespaced: bool) -> list[FieldError]:
    out: list[FieldError] = []
    kind = s.get("kind") or ""
    if not s.get("name"):
        out.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if s.get("name"):
            out += [invalid(f"{path}.name", s["name"], m) for m in names.dns1123_subdomain(s["name"])]
        if s.get("apiGroup"):
            out.append(not_supported(f"{path}.apiGroup", s["apiGroup"], ("",)))
        if not namespaced and not s.get("namespace"):
            out.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if s.get("apiGroup") != GROUP:
            out.append(not_supported(f"{path}.apiGroup", s.get("apiGroup") or "", (GROUP,)))
    else:
        out.append(not_supported(f"{path}.kind", kind, ("Group", "ServiceAccount", "User")))
    return out
