"""What a definition's status says of it: which names it was given, and whether it is served.

Conditions NamesAccepted, Established, NonStructuralSchema (never true in v1) and KubernetesAPIApprovalPolicyConformant; API reference:
CustomResourceDefinitionStatus.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.crd.check import protected
from pilothouse.api.crd.definition import condition
from pilothouse.api.errors import Obj

_FIELDS = ("plural", "singular", "shortNames", "kind", "listKind", "categories")
_REASONS = {"plural": "PluralConflict", "singular": "SingularConflict", "kind": "KindConflict", "listKind": "ListKindConflict"}


def status_of(crd: Obj, others: Iterable[Obj], now: str) -> Obj:
    """The status that the definition should have, beside the other definitions. `now` is RFC 3339."""
    reason, message, accepted = _names(crd, list(others))
    status: Obj = {**(crd.get("status") or {}), "acceptedNames": accepted}
    found = {c["type"]: c for c in status.get("conditions") or ()}
    if reason:
        _set(found, "NamesAccepted", "False", reason, message, now)
    else:
        _set(found, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
    if not reason:
        _set(found, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now)
    elif condition(crd, "Established") is None:
        _set(found, "Established", "False", "NotAccepted", "not all names are accepted", now)
    if protected(crd["spec"]["group"]):
        _approved(crd, found, now)
    status["conditions"] = list(found.values())
    return status


def with_condition(crd: Obj, type: str, status: str, reason: str, message: str, now: str) -> Obj:
    """The definition's status with one condition changed."""
    found = {c["type"]: c for c in (crd.get("status") or {}).get("conditions") or ()}
    _set(found, type, status, reason, message, now)
    return {**(crd.get("status") or {}), "conditions": list(found.values())}


def _set(found: dict[str, Obj], type: str, status: str, reason: str, message: str, now: str) -> None:
    old = found.get(type)
    changed = old is None or old["status"] != status
    new: Obj = {"type": type, "status": status}
    new["lastTransitionTime"] = now if changed or old is None else old["lastTransitionTime"]
    found[type] = {**new, "reason": reason, "message": message}


def _approved(crd: Obj, found: dict[str, Obj], now: str) -> None:
    said = (crd["metadata"].get("annotations") or {}).get("api-approved.kubernetes.io") or ""
    type = "KubernetesAPIApprovalPolicyConformant"
    if said.startswith("unapproved"):
        _set(found, type, "False", "UnapprovedAnnotation", f'not approved: "{said}"', now)
    elif said:
        _set(found, type, "True", "ApprovedAnnotation", f"approved in {said}", now)


def _names(crd: Obj, others: list[Obj]) -> tuple[str, str, Obj]:
    """The reason and message of a conflict ("" for none), and the accepted names: those asked for, or as far as they are free."""
    wanted, had = crd["spec"]["names"], (crd.get("status") or {}).get("acceptedNames") or {}
    taken, kinds = _taken(crd, others)
    accepted: Obj = {"plural": had.get("plural") or "", "kind": had.get("kind") or ""}
    problems: list[tuple[str, str]] = []
    for field in _FIELDS:
        value: Any = wanted.get(field)
        if not value:
            continue
        values = value if isinstance(value, list) else [value]
        used = [] if field == "categories" else [v for v in values if v in (kinds if field in ("kind", "listKind") else taken)]
        if used:
            problems.append((_REASONS.get(field, "ShortNamesConflict"), f'"{used[0]}" is already in use'))
            if had.get(field):
                accepted[field] = had[field]
        else:
            accepted[field] = value
    if not problems:
        return "", "", {f: accepted[f] for f in _FIELDS if f in accepted}
    reason, message = problems[-1]
    return reason, message, accepted


def _taken(crd: Obj, others: list[Obj]) -> tuple[set[str], set[str]]:
    """Resource names and kinds that other definitions of the group were given."""
    names: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] != crd["spec"]["group"] or other["metadata"]["name"] == crd["metadata"]["name"]:
            continue
        given = (other.get("status") or {}).get("acceptedNames") or {}
        names |= {given.get("plural") or "", given.get("singular") or "", *(given.get("shortNames") or ())}
        kinds |= {given.get("kind") or "", given.get("listKind") or ""}
    return names - {""}, kinds - {""}
