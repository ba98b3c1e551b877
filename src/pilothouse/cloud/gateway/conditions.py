"""Conditions of statuses: what is told of a type, and how it gets into what is there already.

Reference: "Conditions" in the Gateway API's notes for implementers. A condition keeps its lastTransitionTime until its status changes; those
that others have set stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]

#: Conditions that are taken away where nothing is told of them: they are there only while there is something to tell.
PASSING = frozenset(("OverlappingTLSConfig", "PartiallyInvalid", "InsecureFrontendValidationMode", "ResolvedRefs"))
_LONGEST_MESSAGE = 32768


@dataclass(frozen=True, slots=True)
class Told:
    """One condition. `status` None is Unknown."""

    type: str
    status: bool | None
    reason: str
    message: str = ""


def yes(type: str, reason: str = "", message: str = "") -> Told:
    """A condition that holds; its reason is its type where there is nothing else to say."""
    return Told(type, True, reason or type, message)


def no(type: str, reason: str, message: str = "") -> Told:
    return Told(type, False, reason, message)


def merged(present: Iterable[Obj] | None, told: Iterable[Told], generation: int, now: str) -> list[Obj]:
    """The conditions with what is told of them now. The objects of `present` are left as they are."""
    wanted = {each.type: each for each in told}
    out: list[Obj] = []
    for old in present or ():
        new = wanted.pop(old["type"], None)
        if new is not None:
            out.append(_condition(new, generation, now, old))
        elif old["type"] not in PASSING:
            out.append(old)
    out.extend(_condition(each, generation, now, None) for each in wanted.values())
    return out


def _condition(told: Told, generation: int, now: str, old: Obj | None) -> Obj:
    status = "Unknown" if told.status is None else str(told.status)
    return {
        "type": told.type,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and old["status"] == status else now,
        "reason": told.reason,
        "message": told.message[:_LONGEST_MESSAGE],
    }
