"""Fills the stock from the API server: a resource is followed from the first pod on for which a plugin wants to look it up.

So a cluster without volumes or devices pays nothing for them. Pods that were refused before a resource was followed cannot have been
refused because of it, so no event is missed. What a server does not have (an older Kubernetes), or does not show, counts as empty and is asked for again after a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.client.interface import Obj, Transport
from pilothouse.clock import Clock
from pilothouse.scheduler.framework import ClusterEvent
from pilothouse.scheduler.stock import Stock

log = logging.getLogger("pilothouse.scheduler")

#: Seconds after which what was not there is asked for again.
ASK_AGAIN = 60.0
#: Plural: where it is read, and its kind.
PATHS = {
    "persistentvolumes": ("/api/v1/persistentvolumes", "PersistentVolume"),
    "persistentvolumeclaims": ("/api/v1/persistentvolumeclaims", "PersistentVolumeClaim"),
    "storageclasses": ("/apis/storage.k8s.io/v1/storageclasses", "StorageClass"),
    "csinodes": ("/apis/storage.k8s.io/v1/csinodes", "CSINode"),
    "csidrivers": ("/apis/storage.k8s.io/v1/csidrivers", "CSIDriver"),
    "csistoragecapacities": ("/apis/storage.k8s.io/v1/csistoragecapacities", "CSIStorageCapacity"),
    "volumeattachments": ("/apis/storage.k8s.io/v1/volumeattachments", "VolumeAttachment"),
    "resourceclaims": ("/apis/resource.k8s.io/v1/resourceclaims", "ResourceClaim"),
    "resourceslices": ("/apis/resource.k8s.io/v1/resourceslices", "ResourceSlice"),
    "deviceclasses": ("/apis/resource.k8s.io/v1/deviceclasses", "DeviceClass"),
}

Happened = Callable[[ClusterEvent, Obj | None, Obj | None], None]


class Feeds:
    """The resources followed so far."""

    def __init__(self, transport: Transport, clock: Clock, informers: InformerFactory, stock: Stock, happened: Happened) -> None:
        self._transport = transport
        self._clock = clock
        self._informers = informers
        self._stock = stock
        self._happened = happened
        self._followed: dict[str, Informer] = {}
        self._absent: dict[str, float] = {}  # when it was asked for

    async def ready(self, plurals: Collection[str]) -> None:
        """Follow these resources, and wait until what exists of them is in the stock."""
        for plural in plurals:
            asked = self._absent.get(plural)
            if plural not in self._followed and (asked is None or self._clock.monotonic() - asked >= ASK_AGAIN):
                await self._begin(plural)
        for plural in plurals:
            if plural in self._followed:
                await self._followed[plural].wait_synced()

    async def _begin(self, plural: str) -> None:
        answer = await self._transport.request("GET", PATHS[plural][0], {"limit": "1"})
        if answer.status in (403, 404):
            log.warning("%s cannot be read (%d): going on as if there were none", plural, answer.status)
            self._absent[plural] = self._clock.monotonic()
        elif plural not in self._followed:
            self._follow(plural)

    def _follow(self, plural: str) -> None:
        path, kind = PATHS[plural]
        informer = self._followed[plural] = self._informers.informer(path)

        def changed(old: Obj | None, new: Obj | None) -> None:
            if new is not None:
                self._stock.put(plural, new)
            elif old is not None:
                self._stock.remove(plural, old)
            action = "Delete" if new is None else "Add" if old is None else "Update"
            self._happened(ClusterEvent(kind, action), old, new)

        informer.add_handler(changed)
