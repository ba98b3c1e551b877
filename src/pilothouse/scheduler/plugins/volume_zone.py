"""VolumeZone: a pod goes where its volumes are, told by the zone and region labels of the volumes.

Only bound claims count; one that waits for its consumer has no zone yet. Labels under their beta names match nodes with the newer
names. A node without any zone or region label is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pilothouse.api.claims import class_name
from pilothouse.scheduler.claims import CLAIMS, CLASSES, VOLUMES, claim_objects, claims_of, not_found
from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.plugins.volume_restrictions import uses_claim
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import Stock
from pilothouse.scheduler.table import Mask, NodeTable

REASON = "node(s) had no available volume zone"

#: Label names of volumes, with what nodes may call the same.
KEYS = {
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
#: Between several zones in one label.
DELIMITER = "__"


class VolumeZone(Plugin):
    name = "VolumeZone"
    events = (
        ClusterEvent("StorageClass", "Add"),
        ClusterEvent("Node", "Add"),
        ClusterEvent("Node", "UpdateLabel"),
        ClusterEvent("Node", "UpdateTaint"),
        ClusterEvent("PersistentVolumeClaim", "Add"),
        ClusterEvent("PersistentVolumeClaim", "Update"),
        ClusterEvent("PersistentVolume", "Add"),
        ClusterEvent("PersistentVolume", "Update"),
    )

    def needs(self, pod: PodInfo) -> Sequence[str]:
        return (CLAIMS, VOLUMES, CLASSES) if claims_of(pod) else ()

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return IDLE_FILTER if pod.volumes is None else NOWHERE

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource == "PersistentVolumeClaim":
            return new is not None and uses_claim(pod, new)
        if event.resource == "PersistentVolume" and old is not None:
            return zones_of(old) != zones_of(new or {})
        return True

    def pre_filter(self, cycle: Cycle) -> Status | None:
        wanted: list[tuple[str, frozenset[str]]] = []
        for claim, obj in claim_objects(cycle.pod, cycle.view.stock):
            if obj is None:
                return Status(Code.UNRESOLVABLE, (not_found(claim),))
            found = _volume_zones(obj, cycle.view.stock)
            if isinstance(found, Status):
                return found
            wanted += found
        cycle.state[self.name] = wanted
        return None if wanted else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        table = cycle.table
        outside: Mask = np.zeros(table.capacity, dtype=np.bool_)
        for key, zones in cycle.state[self.name]:
            outside |= ~_inside(table, key, zones)
        labelled: Mask = np.zeros(table.capacity, dtype=np.bool_)
        for key in KEYS:
            labelled |= table.label_column(key) >= 0
        return (Rejected(REASON, outside & labelled, unresolvable=True),)


def _volume_zones(claim: Obj, stock: Stock) -> list[tuple[str, frozenset[str]]] | Status:
    name = (claim.get("spec") or {}).get("volumeName")
    if not name:
        return _unbound(claim, stock) or []
    volume = stock.get(VOLUMES, "", name)
    return zones_of(volume) if volume is not None else Status(Code.UNRESOLVABLE, (f'persistentvolume "{name}" not found',))


def _unbound(claim: Obj, stock: Stock) -> Status | None:
    """What is wrong with a claim without volume, unless its volume is going to be chosen with the node."""
    named = class_name(claim)
    if not named:
        return Status(Code.UNRESOLVABLE, ("PersistentVolumeClaim had no pv name and storageClass name",))
    storage_class = stock.get(CLASSES, "", named)
    if storage_class is None:
        return Status(Code.UNRESOLVABLE, (f'storageclass.storage.k8s.io "{named}" not found',))
    if storage_class.get("volumeBindingMode") == "WaitForFirstConsumer":
        return None
    return Status(Code.UNRESOLVABLE, ("PersistentVolume had no name",))


def zones_of(volume: Obj) -> list[tuple[str, frozenset[str]]]:
    """(label, values any of which will do) for each zone or region label of a volume."""
    labels = (volume.get("metadata") or {}).get("labels") or {}
    return [(key, frozenset(labels[key].split(DELIMITER))) for key in KEYS if key in labels]


def _inside(table: NodeTable, key: str, zones: frozenset[str]) -> Mask:
    out: Mask = np.zeros(table.capacity, dtype=np.bool_)
    for name in {key, KEYS[key]}:
        ids = [table.label_id(name, zone) for zone in sorted(zones)]
        out |= np.isin(table.label_column(name), ids)
    return out
