"""Adopting and releasing: how a controller keeps the objects that it owns equal to those that its selector matches.

An object has at most one controlling owner. An orphan that matches is adopted; an owned object that no longer matches is
released; another's object is never touched, whatever its labels say. Reference: "Garbage collection: owners and dependents",
design proposal "controller-ref".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, controller_of, is_deleting, labels_of, uid


@dataclass(frozen=True, slots=True)
class Claim:
    """`owned` are ours already; `adopt` and `release` are what has to be asked of the server."""

    owned: list[Obj]
    adopt: list[Obj]
    release: list[Obj]


def claim(owner: Obj, candidates: Iterable[Obj], matches: Callable[[dict[str, str]], bool]) -> Claim:
    """Decide about each candidate of the owner's namespace. An owner that is being deleted adopts and releases nothing."""
    out = Claim([], [], [])
    mine, leaving = uid(owner), is_deleting(owner)
    for obj in candidates:
        reference = controller_of(obj)
        if reference is not None:
            if reference["uid"] != mine:
                continue
            if matches(labels_of(obj)):
                out.owned.append(obj)
            elif not leaving:
                out.release.append(obj)
        elif not leaving and not is_deleting(obj) and matches(labels_of(obj)):
            out.adopt.append(obj)
    return out


def adoption_patch(obj: Obj, reference: Obj, finalizer: str = "") -> Obj:
    """A strategic merge patch that adds the owner; the uid makes it fail if the name has passed to another object."""
    out: Obj = {"metadata": {"ownerReferences": [reference], "uid": uid(obj)}}
    if finalizer:
        out["metadata"]["finalizers"] = [finalizer]
    return out


def release_patch(obj: Obj, owner_uid: str, finalizer: str = "") -> Obj:
    """A strategic merge patch that takes the owner out again."""
    out: Obj = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner_uid}], "uid": uid(obj)}}
    if finalizer:
        out["metadata"]["$deleteFromPrimitiveList/finalizers"] = [finalizer]
    return out
