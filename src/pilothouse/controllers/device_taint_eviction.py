"""device-taint-eviction-controller: deletes pods that use a device with a NoExecute taint which their claim does not tolerate.

A claim's allocation names the devices; their ResourceSlices say how they are tainted. A claim tolerates by what it asked for, perhaps only for a
while. Reference: KEP-5055, DRA device taints. Left out: DeviceTaintRule, which is off by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, is_deleting, key, split_key
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers import taints
from pilothouse.controllers.pod_status import mark
from pilothouse.controllers.pods import is_finished

REASON = "DeletionByDeviceTaintManager"
MESSAGE = "Device Taint manager: deleting due to NoExecute taint"


def results_of(claim: Obj) -> Iterator[Obj]:
    """The devices that a claim was given."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    yield from (allocation.get("devices") or {}).get("results") or ()


def pool_of(named: Obj) -> str:
    """`driver/pool`, of an allocated device or a slice."""
    pool = named.get("pool")
    return f"{named['driver']}/{pool['name'] if isinstance(pool, dict) else pool}"


def evict_at(claim: Obj, taints_of: dict[tuple[str, str], list[Obj]], now: float) -> float | None:
    """The moment at which the users of a claim go; None for never. `taints_of`: by driver and pool, and device."""
    moments = [
        at
        for result in results_of(claim)
        for taint in taints_of.get((pool_of(result), result["device"]), ())
        if taint["effect"] == "NoExecute" and (at := _tolerated_until(result, taint, now)) is not None
    ]
    return min(moments, default=None)


def _tolerated_until(result: Obj, taint: Obj, now: float) -> float | None:
    patience = taints.patience(result.get("tolerations") or [], [taint])
    if patience is None:
        return None
    since = parse_rfc3339(taint["timeAdded"]) if taint.get("timeAdded") else now
    return since + patience


def _pools(claim: Obj) -> Iterable[str]:
    return {pool_of(result) for result in results_of(claim)}


def _pool(slice: Obj) -> Iterable[str]:
    return (pool_of(slice["spec"]),)


class DeviceTaintEvictionController(Controller):
    name = "device-taint-eviction-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods, self.claims, self.slices = self.cache(PODS), self.cache(RESOURCE_CLAIMS), self.cache(RESOURCE_SLICES)
        self.claims.add_index("device pools", _pools)
        self.slices.add_index("device pool", _pool)
        self.follow(self.claims)
        self.slices.add_handler(self._slice_changed)

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        for claim in self.claims.indexed("device pools", pool_of((new or old or {})["spec"])):
            self.enqueue(claim)

    async def sync(self, key: str) -> None:
        claim = self.claims.get(*split_key(key))
        if claim is None or not any(True for _ in results_of(claim)):
            return
        now = self.clock.now()
        at = evict_at(claim, self._taints(claim), now)
        if at is None:
            return
        if at > now:
            self.queue.add_after(key, at - now)
            return
        for consumer in (claim.get("status") or {}).get("reservedFor") or ():
            if consumer.get("resource") == PODS.plural and not consumer.get("apiGroup"):
                await self._evict(claim["metadata"]["namespace"], consumer)

    def _taints(self, claim: Obj) -> dict[tuple[str, str], list[Obj]]:
        out: dict[tuple[str, str], list[Obj]] = {}
        for pool in _pools(claim):
            for slice in self.slices.indexed("device pool", pool):
                for device in slice["spec"].get("devices") or ():
                    if device.get("taints"):
                        out[(pool, device["name"])] = device["taints"]
        return out

    async def _evict(self, namespace: str, consumer: Obj) -> None:
        pod = self.pods.get(namespace, consumer["name"])
        if pod is None or pod["metadata"]["uid"] != consumer["uid"] or is_deleting(pod) or is_finished(pod):
            return
        self.context.event(pod, PODS, "Normal", "DeviceTaintManagerEviction", f"Marking for deletion Pod {key(pod)}")
        try:
            await mark(self.api, pod, REASON, MESSAGE, self.clock.now())
            await self.api.delete(PODS, namespace, consumer["name"], {"preconditions": {"uid": consumer["uid"]}})
        except StatusError as error:
            if not is_not_found(error):
                raise
