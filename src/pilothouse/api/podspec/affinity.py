"""Where a pod may or would rather run: affinity to nodes and pods, and spreading (API reference: Affinity, TopologySpreadConstraint)."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.errors import Obj, duplicate, forbidden, invalid, required
from pilothouse.api.podspec.checks import POSITIVE, Errors, label_selector, name_errors, supported

#: Labels of nodes that have newer names: since when, and which.
RENAMED_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_IN_BOTH = "exists in both matchLabelKeys and labelSelector"
Labels = dict[str, str]


def check_affinity(affinity: Obj, labels: Labels | None, path: str, out: Errors) -> None:
    """`labels`: the pod's own, whose values matchLabelKeys stand for; None in templates."""
    if affinity.get("nodeAffinity"):
        _check_node_affinity(affinity["nodeAffinity"], f"{path}.nodeAffinity", out)
    for field in ("podAffinity", "podAntiAffinity"):
        if affinity.get(field):
            _check_pod_affinity(affinity[field], labels, f"{path}.{field}", out)


# --- nodes -------------------------------------------------------------------------------------------------------------------------


def _check_node_affinity(affinity: Obj, path: str, out: Errors) -> None:
    if affinity.get(REQUIRED) is not None:
        check_node_selector(affinity[REQUIRED], f"{path}.{REQUIRED}", out)
    for n, term in enumerate(affinity.get(PREFERRED) or ()):
        where = f"{path}.{PREFERRED}[{n}]"
        _check_weight(term, where, out)
        _check_node_term(term.get("preference") or {}, f"{where}.preference", out)


def _check_weight(term: Obj, path: str, out: Errors) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        out.append(invalid(f"{path}.weight", weight, "must be in the range 1-100"))


def check_node_selector(selector: Obj, path: str, out: Errors) -> None:
    """A NodeSelector: any of its terms."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        out.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for n, term in enumerate(terms):
        _check_node_term(term, f"{path}.nodeSelectorTerms[{n}]", out)


def _check_node_term(term: Obj, path: str, out: Errors) -> None:
    for n, requirement in enumerate(term.get("matchExpressions") or ()):
        _check_expression(requirement, f"{path}.matchExpressions[{n}]", out)
    for n, requirement in enumerate(term.get("matchFields") or ()):
        _check_field(requirement, f"{path}.matchFields[{n}]", out)


def _check_expression(requirement: Obj, path: str, out: Errors) -> None:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            out.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            out.append(forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            out.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        out.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    name_errors(requirement.get("key") or "", names.qualified_name, f"{path}.key", out)
    for n, value in enumerate(values):
        name_errors(value, names.label_value, f"{path}.values[{n}]", out)


def _check_field(requirement: Obj, path: str, out: Errors) -> None:
    operator, values, key = requirement.get("operator") or "", requirement.get("values") or [], requirement.get("key") or ""
    if operator not in ("In", "NotIn"):
        out.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        told = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        out.append(required(f"{path}.values", told))
    if key != "metadata.name":
        out.append(invalid(f"{path}.key", key, "not a valid field selector key"))
        return
    for n, value in enumerate(values):
        name_errors(value, names.dns1123_subdomain, f"{path}.values[{n}]", out)


# --- pods --------------------------------------------------------------------------------------------------------------------------


def _check_pod_affinity(affinity: Obj, labels: Labels | None, path: str, out: Errors) -> None:
    for n, term in enumerate(affinity.get(REQUIRED) or ()):
        _check_pod_term(term, labels, f"{path}.{REQUIRED}[{n}]", out)
    for n, weighted in enumerate(affinity.get(PREFERRED) or ()):
        where = f"{path}.{PREFERRED}[{n}]"
        _check_weight(weighted, where, out)
        _check_pod_term(weighted.get("podAffinityTerm") or {}, labels, f"{where}.podAffinityTerm", out)


def _check_pod_term(term: Obj, labels: Labels | None, path: str, out: Errors) -> None:
    label_selector(term.get("labelSelector"), f"{path}.labelSelector", out)
    label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", out)
    for namespace in term.get("namespaces") or ():
        name_errors(namespace, names.dns1123_label, f"{path}.namespace", out)
    _check_label_keys(term, labels, path, out)
    key = term.get("topologyKey") or ""
    if not key:
        out.append(required(f"{path}.topologyKey", "can not be empty"))
    name_errors(key, names.qualified_name, f"{path}.topologyKey", out)


def _check_label_keys(term: Obj, labels: Labels | None, path: str, out: Errors) -> None:
    """matchLabelKeys and mismatchLabelKeys: they add to a selector that is there, and do not meet in one key."""
    keys = {field: term.get(field) or [] for field in ("matchLabelKeys", "mismatchLabelKeys")}
    for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        _check_keys(keys[field], term, labels, operator, path, f"{path}.{field}", out)
    for n, key in enumerate(keys["matchLabelKeys"]):
        if key in keys["mismatchLabelKeys"]:
            out.append(invalid(f"{path}.matchLabelKeys[{n}]", key, "exists in both matchLabelKeys and mismatchLabelKeys"))


def _check_keys(keys: list[str], term: Obj, labels: Labels | None, operator: str, path: str, where: str, out: Errors) -> None:
    if not keys:
        return
    selector = term.get("labelSelector")
    if selector is None:
        out.append(forbidden(where, "must not be specified when labelSelector is not set"))
        return
    for n, key in enumerate(keys):
        name_errors(key, names.qualified_name, f"{where}[{n}]", out)
        if _selects_by(selector, key, operator, labels):
            out.append(invalid(f"{path}[{n}]", key, _IN_BOTH))


def _selects_by(selector: Obj, key: str, operator: str, labels: Labels | None) -> bool:
    """Whether the selector names a key otherwise than by the requirement that the key itself was turned into."""
    if key in (selector.get("matchLabels") or {}):
        return True
    found = [e for e in selector.get("matchExpressions") or () if e.get("key") == key]
    if labels is not None and key in labels and (made := merged(key, operator, labels)) in found:
        found.remove(made)
    return bool(found)


def merged(key: str, operator: str, labels: Labels) -> Obj:
    """The requirement that a label key stands for."""
    return {"key": key, "operator": operator, "values": [labels[key]]}


def merge_label_keys(spec: Obj, labels: Labels) -> None:
    """Turn matchLabelKeys and mismatchLabelKeys into requirements, as is done once when a pod is created (KEP-3633, KEP-3243)."""
    for field in ("podAffinity", "podAntiAffinity"):
        group = (spec.get("affinity") or {}).get(field) or {}
        terms = [*(group.get(REQUIRED) or ()), *((w.get("podAffinityTerm") or {}) for w in group.get(PREFERRED) or ())]
        for term in terms:
            _merge(term, "matchLabelKeys", "In", labels)
            _merge(term, "mismatchLabelKeys", "NotIn", labels)
    for constraint in spec.get("topologySpreadConstraints") or ():
        _merge(constraint, "matchLabelKeys", "In", labels)


def _merge(term: Obj, field: str, operator: str, labels: Labels) -> None:
    selector = term.get("labelSelector")
    if selector is None:
        return
    for key in term.get(field) or ():
        if key in labels:
            selector.setdefault("matchExpressions", []).append(merged(key, operator, labels))


# --- spreading ---------------------------------------------------------------------------------------------------------------------

_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_INCLUSION = ("Honor", "Ignore")


def check_spreading(constraints: list[Obj], labels: Labels | None, path: str, out: Errors) -> None:
    """spec.topologySpreadConstraints."""
    pairs = [(c.get("topologyKey") or "", c.get("whenUnsatisfiable") or "") for c in constraints]
    for n, constraint in enumerate(constraints):
        where, (key, action) = f"{path}[{n}]", pairs[n]
        if (constraint.get("maxSkew") or 0) <= 0:
            out.append(invalid(f"{where}.maxSkew", constraint.get("maxSkew") or 0, POSITIVE))
        if not key:
            out.append(required(f"{where}.topologyKey", "can not be empty"))
        supported(action, _ACTIONS, f"{where}.whenUnsatisfiable", out)
        if pairs[n] in pairs[n + 1 :]:
            out.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        _check_min_domains(constraint.get("minDomains"), action, f"{where}.minDomains", out)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(field) is not None:
                supported(constraint[field], _INCLUSION, f"{where}.{field}", out)
        _check_keys(constraint.get("matchLabelKeys") or [], constraint, labels, "In", where, f"{where}.matchLabelKeys", out)
        label_selector(constraint.get("labelSelector"), f"{where}.labelSelector", out)


def _check_min_domains(domains: int | None, action: str, path: str, out: Errors) -> None:
    if domains is None:
        return
    if domains <= 0:
        out.append(invalid(path, domains, POSITIVE))
    if action != "DoNotSchedule":
        out.append(invalid(path, domains, f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"))
