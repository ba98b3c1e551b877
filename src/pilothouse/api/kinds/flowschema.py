"""FlowSchema: which requests belong together, and which priority level they have."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import named, some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.internal_form import dump
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column

HIGHEST_PRECEDENCE = 10_000
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_METHODS = ("ByNamespace", "ByUser")
_ALL: Obj = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}
#: The specifications of the two schemas that must be there, which nobody may change.
FIXED: dict[str, Obj] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [{"subjects": [{"kind": "Group", "group": {"name": "system:masters"}}], **_ALL}],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": HIGHEST_PRECEDENCE,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [
                    {"kind": "Group", "group": {"name": "system:unauthenticated"}},
                    {"kind": "Group", "group": {"name": "system:authenticated"}},
                ],
                **_ALL,
            }
        ],
    },
}


class FlowSchemaStrategy(StatusOnly):
    has_generation = True
    table_sorted = True
    metadata_checked_again = frozenset(("common",))
    columns = (
        NAME_COLUMN, Column("PriorityLevel"), Column("MatchingPrecedence"), Column("DistinguisherMethod"), AGE_COLUMN, Column("MissingPL"),
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = 1000

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out = _validate_precedence(spec["matchingPrecedence"], obj["metadata"].get("name") or "")
        method = spec.get("distinguisherMethod")
        if method is not None and method.get("type") not in _METHODS:
            out.append(not_supported("spec.distinguisherMethod.type", {"Type": method.get("type", "")}, _METHODS))
        level = (spec.get("priorityLevelConfiguration") or {}).get("name") or ""
        where = "spec.priorityLevelConfiguration.name"
        out += (
            named(where, level, names.dns1123_subdomain(level)) if level else [required(where, "must reference a priority level")]
        )
        for n, rule in enumerate(spec.get("rules") or ()):
            out += _validate_rule(rule, f"spec.rules[{n}]")
        name = obj["metadata"].get("name") or ""
        if name in FIXED and spec != FIXED[name]:
            out.append(invalid("spec", _shown(spec), f"spec of '{name}' must equal the fixed value"))
        return out

    def table_order(self, obj: Obj) -> Any:
        """The order in which schemas are tried."""
        return obj["spec"].get("matchingPrecedence", 0), obj["metadata"]["name"]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        conditions = (obj.get("status") or {}).get("conditions") or ()
        return [
            table.name_of(obj),
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            spec.get("matchingPrecedence", 0),
            table.or_word((spec.get("distinguisherMethod") or {}).get("type")),
            table.age(obj, now),
            next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?"),
        ]


def _shown(spec: Obj) -> Obj:
    """The specification as messages show it."""
    method = spec.get("distinguisherMethod")
    return {
        "PriorityLevelConfiguration": {"Name": (spec.get("priorityLevelConfiguration") or {}).get("name") or ""},
        "MatchingPrecedence": spec["matchingPrecedence"],
        "DistinguisherMethod": method and {"Type": method.get("type", "")},
        "Rules": [_shown_rule(rule) for rule in spec.get("rules") or ()] or None,
    }


def _shown_rule(rule: Obj) -> Obj:
    about = "Verbs:verbs? APIGroups:apiGroups? Resources:resources? ClusterScope:clusterScope! Namespaces:namespaces?"
    return {
        "Subjects": [_shown_subject(subject) for subject in rule.get("subjects") or ()] or None,
        "ResourceRules": [dump(entry, about) for entry in rule.get("resourceRules") or ()] or None,
        "NonResourceRules": [dump(e, "Verbs:verbs? NonResourceURLs:nonResourceURLs?") for e in rule.get("nonResourceRules") or ()]
        or None,
    }


def _shown_subject(subject: Obj) -> Obj:
    named = {key: dump(subject.get(key), "Name:name") for key in ("user", "group")}
    account = dump(subject.get("serviceAccount"), "Namespace:namespace Name:name")
    return {"Kind": subject.get("kind", ""), "User": named["user"], "Group": named["group"], "ServiceAccount": account}


def _validate_precedence(precedence: int, name: str) -> list[FieldError]:
    path = "spec.matchingPrecedence"
    if precedence == 1 and name != "exempt":
        return [invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")]
    if precedence <= 0:
        return [invalid(path, precedence, "must be a positive value")]
    if precedence > HIGHEST_PRECEDENCE:
        return [invalid(path, precedence, f"must not be greater than {HIGHEST_PRECEDENCE}")]
    return []


def _validate_rule(rule: Obj, path: str) -> list[FieldError]:
    subjects, about, others = rule.get("subjects") or [], rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    out = [] if subjects else [required(f"{path}.subjects", "subjects must contain at least one value")]
    for n, subject in enumerate(subjects):
        out += _validate_subject(subject, f"{path}.subjects[{n}]")
    if not about and not others:
        out.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for n, entry in enumerate(about):
        out += _validate_resource_rule(entry, f"{path}.resourceRules[{n}]")
    for n, entry in enumerate(others):
        where = f"{path}.nonResourceRules[{n}]"
        out += _validate_verbs(entry.get("verbs") or [], f"{where}.verbs")
        out += _validate_urls(entry.get("nonResourceURLs") or [], f"{where}.nonResourceURLs")
    return out


def _validate_subject(subject: Obj, path: str) -> list[FieldError]:
    kind = subject.get("kind") or ""
    out: list[FieldError] = []
    for of, key in sorted(_SUBJECTS.items(), key=lambda entry: (entry[0] == kind, entry[0])):
        if kind not in _SUBJECTS:
            continue
        if of == kind and subject.get(key) is None:
            out.append(required(f"{path}.{key}", f"{key} is required when subject kind is '{kind}'"))
        elif of == kind:
            out += _validate_who(kind, subject[key], f"{path}.{key}")
        elif subject.get(key) is not None:
            out.append(forbidden(f"{path}.{key}", f"{key} is forbidden when subject kind is not '{of}'"))
    return out + some_of(f"{path}.kind", kind, tuple(_SUBJECTS))


def _validate_who(kind: str, who: Obj, path: str) -> list[FieldError]:
    name = who.get("name") or ""
    out = [] if name else [required(f"{path}.name")]
    if kind != "ServiceAccount":
        return out
    if name and name != "*":
        out += named(f"{path}.name", name, names.dns1123_subdomain(name))
    namespace = who.get("namespace") or ""
    if not namespace:
        return [*out, required(f"{path}.namespace", "must specify namespace for service account")]
    return out + named(f"{path}.namespace", namespace, names.dns1123_label(namespace))


def _all_alone(values: list[str], path: str, what: str) -> list[FieldError]:
    """The asterisk stands for all, and so stands alone."""
    return (
        [invalid(path, values, f"if '*' is present, must not specify other {what}")] if "*" in values and len(values) > 1 else []
    )


def _validate_verbs(verbs: list[str], path: str) -> list[FieldError]:
    if not verbs:
        return [required(path, "verbs must contain at least one value")]
    if "*" in verbs:
        return _all_alone(verbs, path, "verbs")
    return [] if set(verbs) <= set(_VERBS) else [not_supported(path, verbs, _VERBS)]


def _validate_resource_rule(rule: Obj, path: str) -> list[FieldError]:
    out = _validate_verbs(rule.get("verbs") or [], f"{path}.verbs")
    for key, one, many in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values = rule.get(key) or []
        if not values:
            out.append(required(f"{path}.{key}", f"resource rules must supply at least one {one}"))
        out += _all_alone(values, f"{path}.{key}", many)
    namespaces, where = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        out.append(required(where, "resource rules that are not cluster scoped must supply at least one namespace"))
    out += _all_alone(namespaces, where, "namespaces")
    for n, name in enumerate(namespaces):
        problems = [] if name == "*" else names.dns1123_label(name)
        out += named(f"{where}[{n}]", name, [f"each member of this list must be '*' or a DNS-1123 label; {m}" for m in problems])
    return out


def _validate_urls(urls: list[str], path: str) -> list[FieldError]:
    if not urls:
        return [required(path, "nonResourceURLs must contain at least one value")]
    out = _all_alone(urls, path, "non-resource URLs")
    for n, url in enumerate(urls):
        problem = _url_problem(url)
        if problem:
            out.append(invalid(f"{path}[{n}]", url, problem))
    return out


def _url_problem(url: str) -> str:
    if url in ("/", "*"):
        return ""
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    return "wildcard can only do suffix matching" if "*" in url.removesuffix("/*") else ""
