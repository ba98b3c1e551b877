"""VolumeBinding: a node must reach the pod's bound volumes, and have volumes for the claims that wait for their consumer.

Two phases: Reserve counts on the bindings at once, so that the next pod cannot take the same volumes; PreBind writes them (claimRef of
the volume, or the annotation that asks a provisioner for one on this node) and waits until the volume controller has bound every claim.
Argument: `bindTimeoutSeconds` (600). Left out: scores by storage capacity (`shape`; StorageCapacityScoring is alpha and off).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pilothouse.client.interface import Transport
from pilothouse.scheduler.attachments import CSI_NODES, MIGRATED
from pilothouse.scheduler.claims import (
    CLAIMS,
    CLASSES,
    VOLUMES,
    affinity_terms,
    annotations_of,
    claim_objects,
    claims_of,
    is_bound,
    made_for,
    not_found,
    waits_for_consumer,
)
from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.noderows import rows_matching_terms
from pilothouse.scheduler.plugins.volume_restrictions import uses_claim
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Mask
from pilothouse.scheduler.volume_binder import Bindings, VolumeBinder
from pilothouse.scheduler.volume_choice import CAPACITIES, DRIVERS, Choice, choose_volumes
from pilothouse.scheduler.volumes import Claim

CONFLICT = "node(s) had volume node affinity conflict"
NO_VOLUMES = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"

BIND_TIMEOUT = 600.0


class VolumeBinding(Plugin):
    name = "VolumeBinding"
    events = (
        ClusterEvent("StorageClass", "Add"),
        ClusterEvent("StorageClass", "Update"),
        ClusterEvent("PersistentVolumeClaim", "Add"),
        ClusterEvent("PersistentVolumeClaim", "Update"),
        ClusterEvent("PersistentVolume", "Add"),
        ClusterEvent("PersistentVolume", "Update"),
        ClusterEvent("Node", "Add"),
        ClusterEvent("Node", "UpdateLabel"),
        ClusterEvent("Node", "UpdateTaint"),
        ClusterEvent("CSINode", "Add"),
        ClusterEvent("CSINode", "Update"),
        ClusterEvent("CSIDriver", "Update"),
        ClusterEvent("CSIStorageCapacity", "Add"),
        ClusterEvent("CSIStorageCapacity", "Update"),
    )

    def __init__(self, args: Obj | None = None) -> None:
        super().__init__(args)
        self.timeout = float(self.args.get("bindTimeoutSeconds") or BIND_TIMEOUT)

    def needs(self, pod: PodInfo) -> Sequence[str]:
        return (CLAIMS, VOLUMES, CLASSES, CSI_NODES, DRIVERS, CAPACITIES) if claims_of(pod) else ()

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return IDLE_FILTER if pod.volumes is None else NOWHERE

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource == "PersistentVolumeClaim":
            return new is not None and uses_claim(pod, new)
        if old is None or new is None:
            return True
        if event.resource == "StorageClass":
            return old.get("allowedTopologies") != new.get("allowedTopologies")
        if event.resource == "CSIDriver":
            return bool(old["spec"].get("storageCapacity")) and not new["spec"].get("storageCapacity")
        if event.resource == "CSINode":
            return annotations_of(old).get(MIGRATED) != annotations_of(new).get(MIGRATED)
        if event.resource == "CSIStorageCapacity":
            return any(old.get(k) != new.get(k) for k in ("nodeTopology", "maximumVolumeSize", "capacity"))
        return True

    # --- deciding --------------------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> Status | None:
        if not claims_of(cycle.pod):
            return SKIP
        bound: list[Obj] = []
        waiting: list[Obj] = []
        immediate = False
        for claim, obj in claim_objects(cycle.pod, cycle.view.stock):
            problem = _problem(cycle.pod, claim, obj)
            if problem or obj is None:
                return Status(Code.UNRESOLVABLE, (problem,))
            if is_bound(obj):
                bound.append(obj)
            elif not obj["spec"].get("volumeName") and waits_for_consumer(obj, cycle.view.stock):
                waiting.append(obj)
            else:
                immediate = True
        if immediate:
            return Status(Code.UNRESOLVABLE, (IMMEDIATE,))
        cycle.state[self.name] = bound, waiting
        return None

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        bound, waiting = cycle.state[self.name]
        out = self._unreachable(cycle, bound)
        if waiting:
            choice = choose_volumes(waiting, cycle.table, cycle.view.stock)
            cycle.state[self.name, "choice"] = choice
            out += [Rejected(NO_VOLUMES, ~choice.found, True), Rejected(NO_SPACE, ~choice.room, True)]
        return out

    @staticmethod
    def _unreachable(cycle: Cycle, bound: Sequence[Obj]) -> list[Rejected]:
        table = cycle.table
        conflict: Mask = np.zeros(table.capacity, dtype=np.bool_)
        for claim in bound:
            volume = cycle.view.stock.get(VOLUMES, "", claim["spec"]["volumeName"])
            if volume is None:
                return [Rejected(CONFLICT, conflict, True), Rejected(NO_VOLUME, table.present.copy(), True)]
            terms = affinity_terms(volume)
            if terms is not None:
                conflict |= ~rows_matching_terms(table, terms)
        return [Rejected(CONFLICT, conflict, unresolvable=True)]

    # --- after the choice ----------------------------------------------------------------------------------------------------------

    def reserve(self, cycle: Cycle, node_name: str) -> Status | None:
        choice: Choice | None = cycle.state.get((self.name, "choice"))
        if choice is None:
            return None
        bind, make = choice.at(cycle.table.by_name[node_name].index)
        bindings = Bindings(cycle.view.stock, node_name, bind, make)
        bindings.assume()
        cycle.state[self.name, "bindings"] = bindings
        return None

    def unreserve(self, cycle: Cycle, node_name: str) -> None:
        bindings: Bindings | None = cycle.state.pop((self.name, "bindings"), None)
        if bindings is not None:
            bindings.take_back()

    def pre_bind_needed(self, cycle: Cycle, node_name: str) -> bool:
        return (self.name, "bindings") in cycle.state

    async def pre_bind(self, transport: Transport, cycle: Cycle, node_name: str) -> Status | None:
        bindings: Bindings | None = cycle.state.get((self.name, "bindings"))
        if bindings is None:
            return None
        row = cycle.table.by_name.get(node_name)
        binder = VolumeBinder(transport, cycle.view, bindings, self.timeout)
        problem = await binder.bind({} if row is None else row.labels)
        return Status(Code.ERROR, (problem,)) if problem else None


def _problem(pod: PodInfo, claim: Claim, obj: Obj | None) -> str:
    if obj is None:
        if claim.ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{claim.name}"'
        return not_found(claim)
    if (obj.get("status") or {}).get("phase") == "Lost":
        volume = (obj.get("spec") or {}).get("volumeName") or ""
        return f'persistentvolumeclaim "{claim.name}" bound to non-existent persistentvolume "{volume}"'
    if "deletionTimestamp" in obj["metadata"]:
        return f'persistentvolumeclaim "{claim.name}" is being deleted'
    if claim.ephemeral and not made_for(obj, pod):
        return f"PVC {pod.namespace}/{claim.name} was not created for pod {pod.key} (pod is not owner)"
    return ""
