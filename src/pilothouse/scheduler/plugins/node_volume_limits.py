"""NodeVolumeLimits: no more volumes of a CSI driver on a node than its CSINode says can be attached.

Volumes that are attached there already cost nothing. Left out: CSIDriver's preventPodSchedulingIfMissing (VolumeLimitScaling, alpha).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from pilothouse.scheduler.attachments import (
    ATTACHMENTS,
    CSI_NODES,
    Attachable,
    DriverRows,
    attachables,
    attached,
    attached_already,
    limit_of,
    migrated,
    of_claim,
)
from pilothouse.scheduler.claims import CLAIMS, CLASSES, VOLUMES, claims_of
from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.plugins.volume_restrictions import uses_claim
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.table import Ints, Mask
from pilothouse.scheduler.trial import Trial

REASON = "node(s) exceed max volume count"


class NodeVolumeLimits(Plugin):
    name = "NodeVolumeLimits"
    events = (
        ClusterEvent("CSINode", "Add"),
        ClusterEvent("CSINode", "Update"),
        ClusterEvent("AssignedPod", "Delete"),
        ClusterEvent("PersistentVolumeClaim", "Add"),
        ClusterEvent("VolumeAttachment", "Delete"),
    )

    def needs(self, pod: PodInfo) -> Sequence[str]:
        volumes = pod.volumes
        return (CLAIMS, VOLUMES, CLASSES, CSI_NODES, ATTACHMENTS) if volumes and (volumes.claims or volumes.inline) else ()

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return IDLE_FILTER if pod.volumes is None else NOWHERE

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource == "PersistentVolumeClaim":
            return new is not None and uses_claim(pod, new)
        if event.resource == "AssignedPod":
            return old is not None and pod_info(old).volumes is not None
        if event.resource == "CSINode" and old is not None and new is not None:
            drivers = [d["name"] for d in (new.get("spec") or {}).get("drivers") or ()]
            return any(limit_of(new, d) < 0 or limit_of(new, d) > limit_of(old, d) for d in drivers)
        return True

    def pre_filter(self, cycle: Cycle) -> Status | None:
        found = attachables(cycle.pod, cycle.view.stock)
        cycle.state[self.name] = found
        return None if found else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        wanted: set[Attachable] = cycle.state[self.name]
        out: Mask = np.zeros(cycle.table.capacity, dtype=np.bool_)
        for driver in sorted({a.driver for a in wanted}):
            limits, counts = _rows(cycle, driver).refresh()
            if (limits >= 0).any():
                more = _more(cycle, driver)
                out |= (limits >= 0) & (more > 0) & (counts + more > limits)
        return (Rejected(REASON, out),)

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        stock = cycle.view.stock
        csi_node = stock.get(CSI_NODES, "", trial.row.name)
        plugins = migrated(csi_node)
        new: Counter[str] = Counter()
        for volume in cycle.state[self.name]:
            limit = limit_of(csi_node, volume.driver)
            if limit < 0 or (volume.plugin and volume.plugin not in plugins):
                continue
            there = attached(trial.row, stock, volume.driver, trial.removed)
            if volume.handle not in there:
                new[volume.driver] += 1
                if len(there) + new[volume.driver] > limit:
                    return Status(Code.UNSCHEDULABLE, (REASON,))
        return None


def _rows(cycle: Cycle, driver: str) -> DriverRows:
    memo, key = cycle.view.stock.memo, ("attachments", driver)
    found: DriverRows | None = memo.get(key)
    if found is None or found.table is not cycle.table:
        found = memo[key] = DriverRows(cycle.table, cycle.view.stock, driver)
    return found


def _migrated_rows(cycle: Cycle, plugin: str) -> Mask:
    """The rows of nodes that leave an in-tree plugin's volumes to a CSI driver: kept until nodes or CSINodes come, go or change."""
    table, stock = cycle.table, cycle.view.stock
    memo, key = stock.memo, ("migrated", plugin)
    stamp = (stock.version(CSI_NODES), table.names())
    known = memo.get(key)
    if known is None or known[0] != stamp[0] or known[1] is not stamp[1]:
        rows = [r is not None and plugin in migrated(stock.get(CSI_NODES, "", r.name)) for r in table.rows]
        known = memo[key] = (*stamp, np.array(rows, dtype=np.bool_))
    mask: Mask = known[2]
    return mask


def _more(cycle: Cycle, driver: str) -> Ints:
    """Per row, how many volumes of a driver would come with the pod."""
    table, stock = cycle.table, cycle.view.stock
    wanted = {a for a in cycle.state[NodeVolumeLimits.name] if a.driver == driver}
    plain = sum(1 for a in wanted if not a.plugin)
    out = np.full(table.capacity, plain, dtype=np.int64)
    for volume in wanted:
        if volume.plugin:
            out += _migrated_rows(cycle, volume.plugin)
    for claim in claims_of(cycle.pod):
        obj = stock.get(CLAIMS, cycle.pod.namespace, claim.name)
        mine = None if obj is None else of_claim(obj, stock)
        if mine is not None and mine in wanted:
            for i in attached_already((cycle.pod.namespace, claim.name), table, stock):
                out[i] -= 1
    return np.maximum(out, 0)
