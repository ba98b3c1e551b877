"""VolumeRestrictions: disks that two pods cannot have on one node, and claims that only one pod at all may use.

Rules: in-tree disks clash when they are the same one and not both read-only (EBS always); a claim with access mode ReadWriteOncePod
(KEP-2485) is for a single pod of the cluster, which a more important one may preempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pilothouse.scheduler.claims import CLAIMS, claims_of, not_found
from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.table import Mask, Row
from pilothouse.scheduler.trial import Trial
from pilothouse.scheduler.volumes import disks_clash

DISK = "node(s) had no available disk"
ONE_POD = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


class VolumeRestrictions(Plugin):
    name = "VolumeRestrictions"
    events = (
        ClusterEvent("AssignedPod", "Delete"),
        ClusterEvent("Node", "Add"),
        ClusterEvent("PersistentVolumeClaim", "Add"),
        ClusterEvent("PersistentVolumeClaim", "Update"),
    )

    def needs(self, pod: PodInfo) -> Sequence[str]:
        return (CLAIMS,) if claims_of(pod) else ()

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return IDLE_FILTER if pod.volumes is None else NOWHERE

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource == "PersistentVolumeClaim":
            return new is not None and uses_claim(pod, new)
        if event.resource == "AssignedPod":
            return old is not None and _in_the_way(pod, old)
        return True

    def pre_filter(self, cycle: Cycle) -> Status | None:
        volumes = cycle.pod.volumes
        if volumes is None:
            return SKIP
        exclusive: list[tuple[str, str]] = []
        for claim in volumes.claims:
            if claim.ephemeral:
                continue
            obj = cycle.view.stock.get(CLAIMS, cycle.pod.namespace, claim.name)
            if obj is None:
                return Status(Code.UNRESOLVABLE, (not_found(claim),))
            if "ReadWriteOncePod" in (obj["spec"].get("accessModes") or ()):
                exclusive.append((cycle.pod.namespace, claim.name))
        in_use = [key for key in exclusive if key in cycle.table.claim_rows]
        cycle.state[self.name] = in_use
        return None if volumes.disks or in_use else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        out = []
        if cycle.pod.volumes is not None and cycle.pod.volumes.disks:
            out.append(Rejected(DISK, self._clashing(cycle)))
        if cycle.state[self.name]:
            out.append(Rejected(ONE_POD, cycle.table.present.copy()))
        return out

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        if _clash(cycle.pod, trial.left()):
            return Status(Code.UNSCHEDULABLE, (DISK,))
        for key in cycle.state[self.name]:
            users = sum(cycle.table.claim_rows.get(key, {}).values())
            leaving = sum(1 for pod in trial.removed.values() if pod.namespace == key[0] and _uses(pod, key[1]))
            if users > leaving:
                return Status(Code.UNSCHEDULABLE, (ONE_POD,))
        return None

    @staticmethod
    def _clashing(cycle: Cycle) -> Mask:
        out: Mask = np.zeros(cycle.table.capacity, dtype=np.bool_)
        for i in np.flatnonzero(cycle.feasible):
            row: Row | None = cycle.table.rows[i]
            out[i] = row is not None and bool(row.with_volumes) and _clash(cycle.pod, row.with_volumes.values())
        return out


def uses_claim(pod: PodInfo, claim: Obj) -> bool:
    """Whether a pod's volumes name this claim."""
    meta = claim["metadata"]
    return pod.namespace == meta.get("namespace") and _uses(pod, meta["name"])


def _uses(pod: PodInfo, name: str) -> bool:
    return any(c.name == name for c in claims_of(pod))


def _clash(pod: PodInfo, others: Iterable[PodInfo]) -> bool:
    mine = pod.volumes.disks if pod.volumes is not None else ()
    theirs = [disk for other in others if other.volumes is not None for disk in other.volumes.disks]
    return any(disks_clash(one, other) for one in mine for other in theirs)


def _in_the_way(pod: PodInfo, gone: Obj) -> bool:
    other = pod_info(gone)
    shared = pod.namespace == other.namespace and any(_uses(other, c.name) for c in claims_of(pod))
    return shared or _clash(pod, [other])
