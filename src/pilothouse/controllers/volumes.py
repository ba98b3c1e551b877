"""Claims, volumes and the pods that use them, as several controllers ask about them.

Reference: Kubernetes documentation, Persistent Volumes; the annotations are those of "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api import quantity
from pilothouse.controllers.objects import Obj, annotations_of, controller_uid, uid

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONERS = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def class_name(obj: Obj) -> str:
    """The storage class of a claim or volume, "" for none."""
    return annotations_of(obj).get(_OLD_CLASS) or obj["spec"].get("storageClassName") or ""


def requested(claim: Obj) -> int:
    """Bytes."""
    return quantity.value(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0")


def capacity(volume: Obj) -> int:
    """Bytes."""
    return quantity.value((volume["spec"].get("capacity") or {}).get("storage") or "0")


def phase(obj: Obj) -> str:
    found: str = (obj.get("status") or {}).get("phase") or ""
    return found


def claim_key(volume: Obj) -> str:
    """`namespace/name` of the claim that a volume is kept for, "" for none."""
    ref = volume["spec"].get("claimRef")
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else ""


def is_for(volume: Obj, claim: Obj) -> bool:
    """Whether the volume is kept for this claim: by its name, and by its uid once it has one."""
    ref, meta = volume["spec"].get("claimRef") or {}, claim["metadata"]
    named = (ref.get("namespace"), ref.get("name")) == (meta["namespace"], meta["name"])
    return named and ref.get("uid") in (None, "", meta["uid"])


def ephemeral_claim(pod: Obj, volume: Obj) -> str:
    """The name of the claim of a pod's generic ephemeral volume."""
    return f"{pod['metadata']['name']}-{volume['name']}"


def claims_of(pod: Obj) -> Iterator[tuple[Obj, str]]:
    """The pod's volumes that stand for claims, with the claims' names."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume, volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral") is not None:
            yield volume, ephemeral_claim(pod, volume)


def uses(pod: Obj, claim: Obj) -> bool:
    """Whether a pod's volumes stand for this claim; an ephemeral volume's claim must be the pod's own."""
    meta = claim["metadata"]
    return pod["metadata"]["namespace"] == meta["namespace"] and any(
        name == meta["name"] and ("ephemeral" not in volume or controller_uid(claim) == uid(pod))
        for volume, name in claims_of(pod)
    )
