"""NodeSelector: which nodes a volume, a pod or a device can be reached from (API reference: NodeSelectorTerm)."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, required

#: Labels of nodes that have newer names.
DEPRECATED = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}


def validate_node_selector(selector: Obj, path: str) -> list[FieldError]:
    """Errors of a selector: at least one term, each of good requirements."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    out: list[FieldError] = []
    for n, term in enumerate(terms):
        out += validate_term(term, f"{path}.nodeSelectorTerms[{n}]")
    return out


def validate_term(term: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for n, expression in enumerate(term.get("matchExpressions") or ()):
        out += _validate_expression(expression, f"{path}.matchExpressions[{n}]")
    for n, field in enumerate(term.get("matchFields") or ()):
        out += _validate_field(field, f"{path}.matchFields[{n}]")
    return out


def _validate_expression(e: Obj, path: str) -> list[FieldError]:
    operator, values, key = e.get("operator") or "", e.get("values") or (), e.get("key") or ""
    out: list[FieldError] = []
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
    out += named(f"{path}.key", key, names.qualified_name(key))
    for n, value in enumerate(values):
        out += named(f"{path}.values[{n}]", value, names.label_value(value))
    return out


def _validate_field(f: Obj, path: str) -> list[FieldError]:
    operator, values, key = f.get("operator") or "", f.get("values") or (), f.get("key") or ""
    out: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            told = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            out.append(required(f"{path}.values", told))
    else:
        out.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    if key != "metadata.name":
        return [*out, invalid(f"{path}.key", key, "not a valid field selector key")]
    for n, value in enumerate(values):
        out += named(f"{path}.values[{n}]", value, names.dns1123_subdomain(value))
    return out


def deprecated_labels(selector: Obj | None, path: str) -> list[str]:
    """Warnings for labels that go by other names now."""
    out: list[str] = []
    for n, term in enumerate((selector or {}).get("nodeSelectorTerms") or ()):
        for m, e in enumerate(term.get("matchExpressions") or ()):
            if e.get("key") in DEPRECATED:
                since, newer = DEPRECATED[e["key"]]
                where = f"{path}.nodeSelectorTerms[{n}].matchExpressions[{m}].key"
                out.append(f'{where}: {e["key"]} is deprecated since {since}; use "{newer}" instead')
    return out


def shown_affinity(affinity: Obj | None) -> Obj | None:
    """A volume's node affinity as messages show it: every field, under the names of its internal form."""
    if affinity is None:
        return None
    required = affinity.get("required")
    if required is None:
        return {"Required": None}
    terms = required.get("nodeSelectorTerms")
    return {"Required": {"NodeSelectorTerms": terms and [_shown_term(t) for t in terms]}}


def _shown_term(term: Obj) -> Obj:
    return {
        "MatchExpressions": _shown_requirements(term.get("matchExpressions")),
        "MatchFields": _shown_requirements(term.get("matchFields")),
    }


def _shown_requirements(requirements: list[Obj] | None) -> list[Obj] | None:
    if requirements is None:
        return None
    return [{"Key": r.get("key", ""), "Operator": r.get("operator", ""), "Values": r.get("values")} for r in requirements]
