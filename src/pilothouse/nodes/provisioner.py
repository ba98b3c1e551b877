"""The local provisioner: dynamic volumes on simulated and local nodes, of the storage class `standard`.

A claim is served once the scheduler has chosen a node for its first pod: its volume is a folder on that node, goes with the claim, and
grows when the claim does. It follows the provisioner's part of "Dynamic Volume Provisioning" and works by the API alone, as any external provisioner.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.claims import PROVISIONED_BY, PROVISIONER, SELECTED_NODE
from pilothouse.api.errors import StatusError
from pilothouse.client.client import Client, Resource
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.client.workqueue import WorkQueue
from pilothouse.clock import Clock

log = logging.getLogger("pilothouse.nodes")

Obj = dict[str, Any]

NAME = "pilothouse.dev/local"
CLASS = "standard"
FOLDER = "/var/lib/pilothouse/volumes"
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
VOLUMES = Resource("", "v1", "persistentvolumes", namespaced=False)
CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", namespaced=False)
WORKERS = 4


def default_class() -> Obj:
    """The class that claims get which name none."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": NAME,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
    }


def volume_for(claim: Obj, storage_class: Obj, node: str) -> Obj:
    """The volume of a claim: a folder, on one node if a node was chosen."""
    meta, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{meta['uid']}"
    volume: Obj = {
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
        "accessModes": spec["accessModes"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": storage_class["metadata"]["name"],
        "volumeMode": spec.get("volumeMode") or "Filesystem",
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "hostPath": {"path": f"{FOLDER}/{name}_{meta['namespace']}_{meta['name']}", "type": "DirectoryOrCreate"},
    }
    if storage_class.get("mountOptions"):
        volume["mountOptions"] = storage_class["mountOptions"]
    if node:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        volume["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: NAME}},
        "spec": volume,
    }


def is_ours(volume: Obj) -> bool:
    return (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == NAME


def grows_to(claim: Obj) -> str:
    """The size that a bound claim wants beyond the one that it has, "" for none."""
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    has = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    return wanted if has is not None and quantity.compare(wanted, has) > 0 else ""


class LocalProvisioner:
    """Follows claims and volumes. `run` works until cancelled."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._client = Client(transport, clock)
        self._informers = InformerFactory(transport, clock)
        self._claims = self._informers.informer(CLAIMS.path())
        self._volumes = self._informers.informer(VOLUMES.path())
        self._classes = self._informers.informer(CLASSES.path())
        self._queue = WorkQueue(clock)
        self._events = EventRecorder(transport, clock, NAME)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informers.run())
            group.create_task(self._events.run())
            await asyncio.gather(*(i.wait_synced() for i in (self._claims, self._volumes, self._classes)))
            await self._offer_class()
            self._claims.add_handler(lambda old, new: self._add("claim", new))
            self._volumes.add_handler(lambda old, new: self._add("volume", new))
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _offer_class(self) -> None:
        """Once, and only where nobody has made classes: what the user deletes or changes stays so while this runs."""
        if not len(self._classes):
            try:
                await self._client.create(CLASSES, default_class())
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise

    def _add(self, what: str, obj: Obj | None) -> None:
        if obj is not None:
            meta = obj["metadata"]
            self._queue.add(f"{what}/{meta.get('namespace', '')}/{meta['name']}")

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self._sync(*item.split("/"))
            except (StatusError, OSError) as error:
                log.debug("%s: %s", item, error)
                self._queue.add_rate_limited(item)
            else:
                self._queue.forget(item)
            finally:
                self._queue.done(item)

    async def _sync(self, what: str, namespace: str, name: str) -> None:
        obj = (self._claims if what == "claim" else self._volumes).get(namespace, name)
        if obj is None:
            return
        if what == "volume":
            await self._sync_volume(obj)
        elif obj["spec"].get("volumeName"):
            await self._grow(obj)
        else:
            await self._provision(obj)

    async def _provision(self, claim: Obj) -> None:
        notes = claim["metadata"].get("annotations") or {}
        storage_class = self._classes.get("", claim["spec"].get("storageClassName") or "")
        if notes.get(PROVISIONER) != NAME or storage_class is None or claim["metadata"].get("deletionTimestamp"):
            return
        volume = volume_for(claim, storage_class, notes.get(SELECTED_NODE, ""))
        about = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        try:
            await self._client.create(VOLUMES, volume)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return
            self._events.record(about, "Warning", "ProvisioningFailed", f"failed to provision volume: {error.message}")
            raise
        self._events.record(
            about, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {volume['metadata']['name']}"
        )

    async def _sync_volume(self, volume: Obj) -> None:
        """A released volume that is to be deleted goes."""
        spec, meta = volume["spec"], volume["metadata"]
        released = (volume.get("status") or {}).get("phase") == "Released"
        if (
            is_ours(volume)
            and released
            and spec.get("persistentVolumeReclaimPolicy") == "Delete"
            and not meta.get("deletionTimestamp")
        ):
            await self._client.delete(VOLUMES, meta["name"], options={"preconditions": {"uid": meta["uid"]}})

    async def _grow(self, claim: Obj) -> None:
        """The volume first, then what the claim says that it has."""
        wanted = grows_to(claim)
        volume = self._volumes.get("", claim["spec"]["volumeName"])
        if not wanted or volume is None or not is_ours(volume):
            return
        if quantity.compare(wanted, volume["spec"]["capacity"]["storage"]) > 0:
            body = {"spec": {"capacity": {"storage": wanted}}}
            await self._client.patch(VOLUMES, volume["metadata"]["name"], body, how="merge")
        meta = claim["metadata"]
        status = {"status": {"capacity": {"storage": wanted}}}
        await self._client.patch(CLAIMS, meta["name"], status, meta["namespace"], "merge", "status")
        about = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        self._events.record(about, "Normal", "VolumeResizeSuccessful", f"Resize volume {volume['metadata']['name']} succeeded")
