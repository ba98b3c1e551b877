"""NodeSelector: which nodes a volume, a pod or a device can be reached from (API reference: NodeSelectorTerm)."""

from __future__ import annotations

from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.podspec.affinity import check_node_selector
from pilothouse.api.podspec.warnings import NODE_LABELS


def validate_node_selector(selector: Obj, path: str) -> list[FieldError]:
    """Errors of a selector: the rules are those of a pod's required node affinity."""
    out: list[FieldError] = []
    check_node_selector(selector, path, out)
    return out


def deprecated_labels(selector: Obj | None, path: str) -> list[str]:
    """Warnings for labels that go by other names now."""
    out: list[str] = []
    for n, term in enumerate((selector or {}).get("nodeSelectorTerms") or ()):
        for m, e in enumerate(term.get("matchExpressions") or ()):
            if e.get("key") in NODE_LABELS:
                where = f"{path}.nodeSelectorTerms[{n}].matchExpressions[{m}].key"
                out.append(f"{where}: {e['key']} is {NODE_LABELS[e['key']]}")
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
