"""Node selectors and node affinity terms as predicates over a node (API reference: NodeSelector, NodeAffinity)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Obj = dict[str, Any]
NodePredicate = Callable[[str, dict[str, str]], bool]  # node name, labels


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def matches_expression(expression: Obj, present: bool, actual: str) -> bool:
    """One matchExpressions or matchFields entry against one value."""
    operator: str = expression["operator"]
    values: list[str] = expression.get("values") or []
    if operator == "In":
        return present and actual in values
    if operator == "NotIn":
        return not present or actual not in values
    if operator == "Exists":
        return present
    if operator == "DoesNotExist":
        return not present
    have, limit = _integer(actual), _integer(values[0]) if len(values) == 1 else None
    if not present or have is None or limit is None:
        return False
    return have > limit if operator == "Gt" else have < limit


def matches_term(term: Obj, name: str, labels: dict[str, str]) -> bool:
    """A NodeSelectorTerm: all its parts; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(matches_expression(e, e["key"] in labels, labels.get(e["key"], "")) for e in expressions) and all(
        f["key"] == "metadata.name" and matches_expression(f, True, name) for f in fields
    )


def required_predicate(spec: Obj) -> NodePredicate | None:
    """spec.nodeSelector and required node affinity as one predicate; None if the pod asks for nothing."""
    selector = spec.get("nodeSelector") or {}
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not selector and affinity is None:
        return None
    terms = None if affinity is None else affinity.get("nodeSelectorTerms") or ()

    def matches(name: str, labels: dict[str, str]) -> bool:
        if any(labels.get(k) != v for k, v in selector.items()):
            return False
        return terms is None or any(matches_term(t, name, labels) for t in terms)

    return matches


def preferred_terms(spec: Obj) -> list[Obj]:
    """Preferred node affinity terms with a weight."""
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return [t for t in node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or () if t.get("weight")]


def required_node_names(spec: Obj) -> frozenset[str] | None:
    """The only nodes possible when every required term names nodes by metadata.name; None when it does not."""
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    names: set[str] = set()
    for term in affinity.get("nodeSelectorTerms") or ():
        of_term: set[str] | None = None
        for f in term.get("matchFields") or ():
            if f["key"] == "metadata.name" and f["operator"] == "In":
                values = set(f.get("values") or ())
                of_term = values if of_term is None else of_term & values
        if of_term is None:
            return None
        names |= of_term
    return frozenset(names) if affinity.get("nodeSelectorTerms") else None
