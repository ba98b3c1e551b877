"""Claims, volumes and the pods that use them, as several controllers ask about them.

Reference: Kubernetes documentation, Persistent Volumes; the annotations are those of "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api.claims import PROVISIONER
from pilothouse.client.reconcile.objects import Obj, controller_uid, uid

PROVISIONERS = ("volume.beta.kubernetes.io/storage-provisioner", PROVISIONER)


def phase(obj: Obj) -> str:
    found: str = (obj.get("status") or {}).get("phase") or ""
    return found


def claim_key(volume: Obj) -> str:
    """`namespace/name` of the claim that a volume is kept for, "" for none."""
    ref = volume["spec"].get("claimRef")
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else ""


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
