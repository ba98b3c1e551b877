"""What a definition's status says of it: which names it was given, and whether it is served.

Conditions NamesAccepted, Established, NonStructuralSchema (never true in v1) and KubernetesAPIApprovalPolicyConformant; API reference:
CustomResourceDefinitionStatus.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.crd.check import protected
from pilothouse.api.crd.definition import condition
from pilothouse.api.errors import Obj

_FIELDS = ("plural", "singular", "shortNames", "kind", "listKind", "categories")
_REASONS = {"plural": "PluralConflict", "singular": "SingularConflict", "kind": "KindConflict", "listKind": "ListKindConflict"}


class NamesInUse:
    """Which resource names and kinds definitions were given, by group and name, and to which of them."""

    def __init__(self) -> None:
        self._given: dict[str, frozenset[tuple[str, str, str]]] = {}
        self._owners: dict[tuple[str, str, str], set[str]] = {}

    def learn(self, crd: Obj) -> bool:
        """Take a definition's accepted names in. Whether names have become free."""
        group, given = crd["spec"]["group"], (crd.get("status") or {}).get("acceptedNames") or {}
        names = (given.get("plural"), given.get("singular"), *(given.get("shortNames") or ()))
        kinds = (given.get("kind"), given.get("listKind"))
        used = {(group, "name", n) for n in names if n} | {(group, "kind", k) for k in kinds if k}
        return self._give(crd["metadata"]["name"], frozenset(used))

    def forget(self, definition: str) -> bool:
        """A definition is gone. Whether names have become free."""
        return self._give(definition, frozenset())

    def _give(self, definition: str, used: frozenset[tuple[str, str, str]]) -> bool:
        before = self._given.get(definition, frozenset())
        for gone in before - used:
            self._owners[gone].discard(definition)
            if not self._owners[gone]:
                del self._owners[gone]
        for new in used - before:
            self._owners.setdefault(new, set()).add(definition)
        if used:
            self._given[definition] = used
        else:
            self._given.pop(definition, None)
        return bool(before - used)

    def taken(self, crd: Obj, field: str, value: str) -> bool:
        """Whether another definition of the group was given this name or kind."""
        what = "kind" if field in ("kind", "listKind") else "name"
        owners = self._owners.get((crd["spec"]["group"], what, value))
        return bool(owners) and owners != {crd["metadata"]["name"]}


def status_of(crd: Obj, in_use: NamesInUse, now: str) -> Obj:
    """The status that the definition should have, beside the other definitions. `now` is RFC 3339."""
    reason, message, accepted = _names(crd, in_use)
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


def _names(crd: Obj, in_use: NamesInUse) -> tuple[str, str, Obj]:
    """The reason and message of a conflict ("" for none), and the accepted names: those asked for, or as far as they are free."""
    wanted, had = crd["spec"]["names"], (crd.get("status") or {}).get("acceptedNames") or {}
    accepted: Obj = {"plural": had.get("plural") or "", "kind": had.get("kind") or ""}
    problems: list[tuple[str, str]] = []
    for field in _FIELDS:
        value: Any = wanted.get(field)
        if not value:
            continue
        values = value if isinstance(value, list) else [value]
        used = [] if field == "categories" else [v for v in values if in_use.taken(crd, field, v)]
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
