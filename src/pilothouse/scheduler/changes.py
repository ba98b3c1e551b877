"""What of an object's change matters to scheduling: a heartbeat is nothing, a new label an event."""

from __future__ import annotations

from typing import Any

from pilothouse.scheduler.resizing import is_infeasible, told_resources

Obj = dict[str, Any]


def node_changes(old: Obj | None, new: Obj) -> list[str]:
    """What happened to a node, as actions of a ClusterEvent; a heartbeat is nothing."""
    if old is None:
        return ["Add"]
    out = []
    if old["metadata"].get("labels") != new["metadata"].get("labels"):
        out.append("UpdateLabel")
    was, now = old.get("spec") or {}, new.get("spec") or {}
    if was.get("taints") != now.get("taints") or was.get("unschedulable") != now.get("unschedulable"):
        out.append("UpdateTaint")
    if (old.get("status") or {}).get("allocatable") != (new.get("status") or {}).get("allocatable"):
        out.append("UpdateAllocatable")
    if (old.get("status") or {}).get("declaredFeatures") != (new.get("status") or {}).get("declaredFeatures"):
        out.append("UpdateDeclaredFeature")
    return out


def claim_names(pod: Obj | None) -> Any:
    """The claims made for a pod from templates: part of its status, and something that it waits for."""
    return ((pod or {}).get("status") or {}).get("resourceClaimStatuses")


def same_room(old: Obj, new: Obj) -> bool:
    """Whether a pod on a node takes up what it did, as far as its status tells (see `resizing`)."""
    return told_resources(old) == told_resources(new) and is_infeasible(old) == is_infeasible(new)


def only_status_changed(old: Obj | None, new: Obj) -> bool:
    if old is None:
        return False
    meta, was = new["metadata"], old["metadata"]
    same = all(meta.get(k) == was.get(k) for k in ("uid", "labels", "deletionTimestamp", "ownerReferences", "annotations"))
    return same and old["spec"] == new["spec"]
