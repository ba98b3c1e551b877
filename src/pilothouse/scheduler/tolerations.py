"""Which taints a pod tolerates (API reference: Taints and Tolerations)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Obj = dict[str, Any]
Taint = tuple[str, str, str]  # key, value, effect


def _covers(toleration: Obj, taint: Taint) -> bool:
    key, value, effect = taint
    if toleration.get("effect") and toleration["effect"] != effect:
        return False
    if toleration.get("key") and toleration["key"] != key:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and bool(toleration.get("key")) and (toleration.get("value") or "") == value


def tolerates(tolerations: Iterable[Obj] | None, taint: Taint) -> bool:
    """Whether any toleration covers the taint."""
    return any(_covers(t, taint) for t in tolerations or ())


def untolerated(tolerations: Iterable[Obj] | None, taints: Iterable[Taint], effects: tuple[str, ...]) -> int:
    """How many taints of these effects are not tolerated."""
    tolerations = list(tolerations or ())
    return sum(1 for t in taints if t[2] in effects and not tolerates(tolerations, t))
