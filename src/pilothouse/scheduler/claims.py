"""PersistentVolumeClaims and volumes as scheduling asks about them (Kubernetes documentation: Persistent Volumes, Storage Classes)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilothouse.api import selectors
from pilothouse.api.claims import BIND_COMPLETED, capacity, class_name, is_for, requested
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import CLASS, Stock
from pilothouse.scheduler.volumes import Claim

Obj = dict[str, Any]

CLAIMS, VOLUMES, CLASSES = "persistentvolumeclaims", "persistentvolumes", "storageclasses"

NO_PROVISIONER = "kubernetes.io/no-provisioner"


def claims_of(pod: PodInfo) -> tuple[Claim, ...]:
    return pod.volumes.claims if pod.volumes is not None else ()


def claim_objects(pod: PodInfo, stock: Stock) -> Iterator[tuple[Claim, Obj | None]]:
    """The pod's claims with their objects (None where there is none), in the order of its volumes."""
    for claim in claims_of(pod):
        yield claim, stock.get(CLAIMS, pod.namespace, claim.name)


def not_found(claim: Claim) -> str:
    return f'persistentvolumeclaim "{claim.name}" not found'


def made_for(obj: Obj, pod: PodInfo) -> bool:
    """Whether an ephemeral volume's claim belongs to this pod, not to one of the same name before it."""
    return any(r.get("uid") == pod.uid and r.get("controller") for r in obj["metadata"].get("ownerReferences") or ())


def annotations_of(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def is_bound(claim: Obj) -> bool:
    """Bound in both directions: the volume controller has said that it is done."""
    return bool((claim.get("spec") or {}).get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def waits_for_consumer(claim: Obj, stock: Stock) -> bool:
    """Whether its class leaves the choice of the volume to scheduling."""
    name = class_name(claim)
    storage_class = stock.get(CLASSES, "", name) if name else None
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def candidates(claim: Obj, stock: Stock) -> list[Obj]:
    """Volumes that could be bound to a claim as far as nodes do not matter; smallest first, one kept for the claim before all."""
    name = class_name(claim)
    wanted = requested(claim)
    selector = claim["spec"].get("selector")
    selects = selectors.label_predicate(selector) if selector else None
    found: list[tuple[bool, int, Obj]] = []
    for volume in stock.indexed(VOLUMES, CLASS, name):
        mine = is_for(volume, claim)
        if not fits_claim(claim, volume, mine) or capacity(volume) < wanted:
            continue
        if mine or selects is None or selects(volume["metadata"].get("labels") or {}):
            found.append((not mine, capacity(volume), volume))
    return [volume for _, _, volume in sorted(found, key=lambda f: f[:2])]


def fits_claim(claim: Obj, volume: Obj, mine: bool) -> bool:
    """Whether a volume suits a claim but for its size; `mine`: it is kept for this very claim."""
    spec, wants = volume["spec"], claim["spec"]
    if "deletionTimestamp" in volume["metadata"]:
        return False
    if (spec.get("volumeMode") or "Filesystem") != (wants.get("volumeMode") or "Filesystem"):
        return False
    if (spec.get("volumeAttributesClassName") or "") != (wants.get("volumeAttributesClassName") or ""):
        return False
    if mine:
        return True
    if spec.get("claimRef") or (volume.get("status") or {}).get("phase") != "Available":
        return False
    return set(wants.get("accessModes") or ()) <= set(spec.get("accessModes") or ())


def affinity_terms(volume: Obj) -> list[Obj] | None:
    """The required node selector terms of a volume; None where any node can reach it."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return None if required is None else list(required.get("nodeSelectorTerms") or ())
