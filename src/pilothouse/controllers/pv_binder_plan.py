"""Which volume suits a claim, and what binding the two says in each of them. Pure functions.

A volume suits when it has the claim's mode, class, access modes and labels and is large enough; the smallest such volume is taken, and
one that is kept for the claim by name before all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.claims import BIND_COMPLETED, BOUND_BY_CONTROLLER, capacity, class_name, is_for, requested
from pilothouse.client.reconcile.objects import Obj, annotations_of, is_deleting, labels_of, with_metadata
from pilothouse.controllers.selection import compile_selector
from pilothouse.controllers.volumes import phase


def best_match(claim: Obj, volumes: Iterable[Obj], reserved_only: bool) -> Obj | None:
    """The volume to bind; `reserved_only`: none but one that is kept for the claim, since the scheduler has yet to choose."""
    wanted = requested(claim)
    selector = claim["spec"].get("selector")
    matches = compile_selector(selector) if selector else None
    best: Obj | None = None
    for volume in volumes:
        if is_deleting(volume) or capacity(volume) < wanted or _mode(volume) != _mode(claim):
            continue
        if volume["spec"].get("claimRef"):
            if is_for(volume, claim):
                return volume
            continue
        if reserved_only or phase(volume) != "Available" or mismatch(volume, claim):
            continue
        if matches is not None and not matches(labels_of(volume)):
            continue
        if best is None or _rank(volume) < _rank(best):
            best = volume
    return best


def _rank(volume: Obj) -> tuple[int, str]:
    return capacity(volume), volume["metadata"]["name"]


def _mode(obj: Obj) -> str:
    found: str = obj["spec"].get("volumeMode") or "Filesystem"
    return found


def mismatch(volume: Obj, claim: Obj) -> str:
    """Why a volume cannot hold a claim, "" if it can."""
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if class_name(volume) != class_name(claim):
        return "storageClassName does not match"
    if (volume["spec"].get("volumeAttributesClassName") or "") != (claim["spec"].get("volumeAttributesClassName") or ""):
        return "volumeAttributesClassName does not match"
    if _mode(volume) != _mode(claim):
        return "incompatible volumeMode"
    if not set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def _noted(obj: Obj, **notes: str) -> Obj:
    return with_metadata(obj, annotations={**annotations_of(obj), **notes})


def bound_volume(volume: Obj, claim: Obj) -> Obj:
    """The volume as bound to the claim; itself if nothing is to be changed."""
    ref, meta = volume["spec"].get("claimRef"), claim["metadata"]
    if ref and ref.get("uid") == meta["uid"]:
        return volume
    full = {
        "kind": "PersistentVolumeClaim",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": "v1",
        "resourceVersion": meta["resourceVersion"],
    }
    out = {**volume, "spec": {**volume["spec"], "claimRef": full}}
    return out if ref else _noted(out, **{BOUND_BY_CONTROLLER: "yes"})


def unbound_volume(volume: Obj) -> Obj:
    """The volume without its claim: what the controller had chosen is forgotten, what a user had reserved is reserved again."""
    spec = {k: v for k, v in volume["spec"].items() if k != "claimRef"}
    notes = annotations_of(volume)
    if BOUND_BY_CONTROLLER not in notes:
        kept = {k: v for k, v in volume["spec"]["claimRef"].items() if k not in ("uid", "resourceVersion")}
        return {**volume, "spec": {**spec, "claimRef": kept}}
    return with_metadata({**volume, "spec": spec}, annotations={k: v for k, v in notes.items() if k != BOUND_BY_CONTROLLER})


def bound_claim(claim: Obj, volume: Obj) -> Obj:
    """The claim as bound to the volume; itself if nothing is to be changed."""
    name, notes = volume["metadata"]["name"], annotations_of(claim)
    out = claim
    if claim["spec"].get("volumeName") != name:
        out = _noted({**claim, "spec": {**claim["spec"], "volumeName": name}}, **{BOUND_BY_CONTROLLER: "yes"})
    return out if BIND_COMPLETED in notes else _noted(out, **{BIND_COMPLETED: "yes"})


def claim_status(claim: Obj, volume: Obj | None, wanted: str) -> Obj:
    """The status in a phase. A bound claim shows its volume's modes and, from the moment that it is bound, its size."""
    status: dict[str, Any] = {**(claim.get("status") or {}), "phase": wanted}
    if volume is None:
        for field in ("accessModes", "capacity") if wanted == "Lost" else ():
            status.pop(field, None)
        return status
    status["accessModes"] = volume["spec"].get("accessModes") or []
    if phase(claim) != "Bound" or not status.get("capacity"):
        status["capacity"] = {"storage": volume["spec"]["capacity"]["storage"]}
        attributes = volume["spec"].get("volumeAttributesClassName")
        if attributes:
            status["currentVolumeAttributesClassName"] = attributes
    return status
