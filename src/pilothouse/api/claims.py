"""PersistentVolumeClaims and PersistentVolumes as scheduler, controllers and provisioners ask about them.

Reference: Persistent Volumes; the annotations are those of "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

from pilothouse.api import quantity
from pilothouse.api.errors import Obj

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def class_name(obj: Obj) -> str:
    """The storage class of a claim or volume, "" for none."""
    annotations = obj["metadata"].get("annotations") or {}
    return annotations.get(_OLD_CLASS) or (obj.get("spec") or {}).get("storageClassName") or ""


def requested(claim: Obj) -> int:
    """Bytes."""
    return quantity.value(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0")


def capacity(volume: Obj) -> int:
    """Bytes."""
    return quantity.value((volume["spec"].get("capacity") or {}).get("storage") or "0")


def is_for(volume: Obj, claim: Obj) -> bool:
    """Whether the volume is kept for this very claim: by its name, and by its uid once it has one."""
    ref, meta = volume["spec"].get("claimRef") or {}, claim["metadata"]
    if ref.get("name") != meta["name"] or ref.get("namespace") != meta.get("namespace"):
        return False
    return not ref.get("uid") or ref["uid"] == meta.get("uid")
