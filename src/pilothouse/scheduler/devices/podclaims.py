"""The ResourceClaims of a pod: named, or made for it from a template under a name that the pod's status tells."""

from __future__ import annotations

from typing import Any

from pilothouse.scheduler.devices import CLAIMS
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import Stock

Obj = dict[str, Any]

#: Pods that may use one claim at a time.
MOST_CONSUMERS = 256


class Unready(Exception):
    """A claim is not there, or not this pod's; the text is what users are shown."""


def claims_of(pod: PodInfo, stock: Stock) -> list[Obj]:
    """The pod's claims, in the order in which it names them. Unready if one cannot be used."""
    out = []
    for entry in pod.spec.get("resourceClaims") or ():
        name, own = _name(pod, entry)
        if not name:
            continue
        claim = stock.get(CLAIMS, pod.namespace, name)
        if claim is None:
            raise Unready(f'could not find ResourceClaim "{pod.namespace}/{name}"')
        if "deletionTimestamp" in claim["metadata"]:
            raise Unready(f'resourceclaim "{name}" is being deleted')
        if own and not _owned(pod, claim):
            raise Unready(f"ResourceClaim {pod.namespace}/{name} was not created for pod {pod.key} (pod is not owner)")
        out.append(claim)
    return out


def _name(pod: PodInfo, entry: Obj) -> tuple[str, bool]:
    """The name of a claim (empty where none is needed), and whether it was made for the pod."""
    if entry.get("resourceClaimName"):
        return entry["resourceClaimName"], False
    for status in (pod.obj.get("status") or {}).get("resourceClaimStatuses") or ():
        if status["name"] == entry["name"]:
            return status.get("resourceClaimName") or "", True
    raise Unready(f'pod claim name "{entry["name"]}": ResourceClaim not created yet')


def _owned(pod: PodInfo, claim: Obj) -> bool:
    return any(r.get("uid") == pod.uid and r.get("controller") for r in claim["metadata"].get("ownerReferences") or ())


def names_claim(pod: PodInfo, claim: Obj) -> bool:
    """Whether the pod uses this claim, as far as it knows its name."""
    if pod.namespace != claim["metadata"].get("namespace"):
        return False
    wanted = claim["metadata"]["name"]
    listed = pod.spec.get("resourceClaims") or ()
    if any(entry.get("resourceClaimName") == wanted for entry in listed):
        return True
    statuses = (pod.obj.get("status") or {}).get("resourceClaimStatuses") or ()
    return any(status.get("resourceClaimName") == wanted for status in statuses)


def allocation_of(claim: Obj) -> Obj | None:
    found: Obj | None = (claim.get("status") or {}).get("allocation")
    return found


def consumers(claim: Obj) -> list[Obj]:
    return list((claim.get("status") or {}).get("reservedFor") or ())


def reserved_for(claim: Obj, pod: PodInfo) -> bool:
    return any(c.get("uid") == pod.uid for c in consumers(claim))


def with_consumer(claim: Obj, pod: PodInfo, allocation: Obj | None) -> Obj:
    """The claim reserved for the pod too, and allocated like this if it was not."""
    entry = {"resource": "pods", "name": pod.name, "uid": pod.uid}
    status = {**(claim.get("status") or {}), "reservedFor": [*consumers(claim), entry]}
    if allocation is not None:
        status["allocation"] = allocation
    return {**claim, "status": status}
