"""Writes allocations: the finalizer that protects an allocated claim, its allocation, and the pod it is reserved for.

Devices that need preparing outside the node (bindingConditions, KEP-5007) are waited for before the pod is bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pilothouse.client.interface import Response, Transport
from pilothouse.clock import Clock
from pilothouse.scheduler.devices import CLAIMS
from pilothouse.scheduler.devices.podclaims import allocation_of, reserved_for, with_consumer
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import Stock

Obj = dict[str, Any]

FINALIZER = "resource.kubernetes.io/delete-protection"
ATTEMPTS = 5
#: Seconds between looks at binding conditions.
PERIOD = 1.0


def path_of(claim: Obj) -> str:
    meta = claim["metadata"]
    return f"/apis/resource.k8s.io/v1/namespaces/{meta['namespace']}/resourceclaims/{meta['name']}"


class Failed(Exception):
    """The claim could not be written."""


@dataclass(slots=True)
class ClaimBinder:
    """For one pod."""

    transport: Transport
    pod: PodInfo

    async def bind(self, claim: Obj, allocation: Obj | None) -> Obj:
        """Allocate (if `allocation` says how) and reserve a claim; its new state. Failed when it cannot be."""
        for attempt in range(ATTEMPTS):
            if attempt:
                claim = _body(await self.transport.request("GET", path_of(claim)))
            self._check(claim, allocation)
            if reserved_for(claim, self.pod):
                return claim
            answer = await self._write(claim, allocation)
            if answer.status != 409:
                return _body(answer)
        return _body(answer)

    def _check(self, claim: Obj, allocation: Obj | None) -> None:
        name = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        if "deletionTimestamp" in claim["metadata"]:
            raise Failed(f"claim {name} got deleted in the meantime")
        if allocation is not None and allocation_of(claim) is not None:
            raise Failed(f"claim {name} got allocated elsewhere in the meantime")
        if allocation is None and allocation_of(claim) is None:
            raise Failed(f"claim {name} got deallocated in the meantime")

    async def _write(self, claim: Obj, allocation: Obj | None) -> Response:
        claim = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", **claim}
        finalizers = claim["metadata"].get("finalizers") or []
        if allocation is not None and FINALIZER not in finalizers:
            protected = {**claim, "metadata": {**claim["metadata"], "finalizers": [*finalizers, FINALIZER]}}
            answer = await self.transport.request("PUT", path_of(claim), body=protected)
            if answer.status >= 300:
                return answer
            claim = answer.body
        return await self.transport.request("PUT", path_of(claim) + "/status", body=with_consumer(claim, self.pod, allocation))

    async def make(self, claim: Obj, allocation: Obj) -> Obj:
        """Make a claim of the pod's own, allocated and reserved; its state. Failed when it cannot be."""
        meta = claim["metadata"]
        protected = {**claim, "metadata": {**meta, "finalizers": [FINALIZER]}}
        path = f"/apis/resource.k8s.io/v1/namespaces/{meta['namespace']}/resourceclaims"
        made = _body(await self.transport.request("POST", path, body=protected))
        body = with_consumer(made, self.pod, allocation)
        return _body(await self.transport.request("PUT", path_of(made) + "/status", body=body))

    async def tell_pod(self, status: Obj) -> None:
        """Write into the pod's status which claim holds its extended resources. Failed when it cannot be."""
        path = f"/api/v1/namespaces/{self.pod.namespace}/pods/{self.pod.name}/status"
        body = {"metadata": {"uid": self.pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        _body(await self.transport.request("PATCH", path, body=body, content_type="application/merge-patch+json"))

    async def unmake(self, claim: Obj) -> None:
        """Delete a claim that was made for the pod."""
        freed = {"metadata": {"finalizers": None}}
        await self.transport.request("PATCH", path_of(claim), body=freed, content_type="application/merge-patch+json")
        await self.transport.request("DELETE", path_of(claim))

    async def release(self, claim: Obj) -> None:
        """The pod does not need it after all."""
        gone = [{"$patch": "delete", "uid": self.pod.uid}]
        patch = {"metadata": {"uid": claim["metadata"].get("uid")}, "status": {"reservedFor": gone}}
        await self.transport.request(
            "PATCH", path_of(claim) + "/status", body=patch, content_type="application/strategic-merge-patch+json"
        )

    async def deallocate(self, claim: Obj) -> None:
        """Give the devices back, so that they can be chosen anew."""
        status = {k: v for k, v in (claim.get("status") or {}).items() if k not in ("allocation", "reservedFor")}
        body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", **claim, "status": status}
        await self.transport.request("PUT", path_of(claim) + "/status", body=body)


def _body(answer: Response) -> Obj:
    if answer.status < 300:
        found: Obj = answer.body
        return found
    message = answer.body.get("message") if isinstance(answer.body, dict) else str(answer.body)
    raise Failed(message or f"the claim's write answered {answer.status}")


async def wait_for_conditions(claim: Obj, stock: Stock, clock: Clock, timeout: float) -> str:
    """Wait until all binding conditions of the claim's devices are met; what went wrong, or nothing."""
    began = clock.monotonic()
    while True:
        meta = claim["metadata"]
        now = stock.get(CLAIMS, meta["namespace"], meta["name"])
        if now is None or allocation_of(now) is None:
            return f"claim {meta['namespace']}/{meta['name']} got deallocated in the meantime"
        left, failed = _conditions(now)
        if failed or not left:
            return failed
        if clock.monotonic() - began >= timeout:
            return "device binding timeout"
        await clock.sleep(PERIOD)


def _conditions(claim: Obj) -> tuple[bool, str]:
    states = {(d["driver"], d["pool"], d["device"]): d for d in (claim.get("status") or {}).get("devices") or ()}
    left = False
    for result in ((allocation_of(claim) or {}).get("devices") or {}).get("results") or ():
        listed = (states.get((result["driver"], result["pool"], result["device"])) or {}).get("conditions") or ()
        true = {c["type"] for c in listed if c.get("status") == "True"}
        failed = [c for c in result.get("bindingFailureConditions") or () if c in true]
        if failed:
            return True, f"claim {claim['metadata']['name']} binding failed: condition {failed[0]} is set"
        left = left or any(c not in true for c in result.get("bindingConditions") or ())
    return left, ""
