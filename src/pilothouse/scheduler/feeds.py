"""Fills the stock from the API server: a resource is followed from the first pod on for which a plugin wants to look it up.

So a cluster without volumes or devices pays nothing for them. Pods that were refused before a resource was followed cannot have been
refused because of it, so no event is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.client.interface import Obj
from pilothouse.scheduler.framework import ClusterEvent
from pilothouse.scheduler.stock import Stock

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

    def __init__(self, informers: InformerFactory, stock: Stock, happened: Happened) -> None:
        self._informers = informers
        self._stock = stock
        self._happened = happened
        self._followed: dict[str, Informer] = {}

    async def ready(self, plurals: Iterable[str]) -> None:
        """Follow these resources, and wait until what exists of them is in the stock."""
        for plural in plurals:
            if plural not in self._followed:
                self._follow(plural)
        for plural in plurals:
            await self._followed[plural].wait_synced()

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
