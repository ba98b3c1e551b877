"""Is a node alive? What the node lifecycle controller concludes from heartbeats, as pure functions.

A node lives while its Lease is renewed or its status changes. When neither was seen for the grace period its conditions become
Unknown. Zones in which too many nodes are dead lose their pods more slowly or not at all, because then the fault is more likely
the network's. Reference: "Nodes: node controller", "Rate limits on eviction".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pilothouse.client.reconcile.objects import Obj, condition, created_at, labels_of
from pilothouse.clock import rfc3339

#: Conditions that a silent node's heartbeat vouched for.
VOUCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; and shares of nodes, and evictions per second, of kube-controller-manager's flags."""

    monitor_period: float = 5.0
    grace: float = 50.0
    startup_grace: float = 60.0
    eviction_rate: float = 0.1
    secondary_rate: float = 0.01
    large_cluster: int = 50
    unhealthy_zone: float = 0.55


@dataclass(frozen=True, slots=True)
class Health:
    """What was last seen of a node, and when it was last seen to change (seconds since the epoch)."""

    heartbeat: str
    renewed: str
    changed_at: float


def observe(node: Obj, lease: Obj | None, before: Health | None, now: float) -> Health:
    """Take note of the node's heartbeat and its Lease. A node seen for the first time gets the benefit of the doubt."""
    ready = condition(node, "Ready")
    heartbeat = (ready.get("lastHeartbeatTime") or "?") if ready else ""
    renewed = ((lease or {}).get("spec") or {}).get("renewTime") or ""
    if before is None:
        return Health(heartbeat, renewed, now if ready else created_at(node))
    alive = heartbeat != before.heartbeat or renewed > before.renewed
    return Health(heartbeat, max(renewed, before.renewed), now if alive else before.changed_at)


def silent_since(node: Obj, health: Health, timing: Timing, now: float) -> bool:
    """Whether the node has been silent for longer than it may."""
    grace = timing.grace if condition(node, "Ready") else timing.startup_grace
    return now > health.changed_at + grace


def unknown_conditions(node: Obj, now: float) -> list[Obj] | None:
    """The conditions of a silent node; None if they are Unknown already."""
    known = list((node.get("status") or {}).get("conditions") or [])
    out = [_unknown(c, now) if c["type"] in VOUCHED and c["status"] != "Unknown" else c for c in known]
    present = {c["type"] for c in known}
    for kind in VOUCHED:
        if kind not in present:
            out.append(_never_seen(kind, node, now))
    return out if out != known else None


def _unknown(known: Obj, now: float) -> Obj:
    return {
        **known,
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": rfc3339(now),
    }


def _never_seen(kind: str, node: Obj, now: float) -> Obj:
    return {
        "type": kind,
        "status": "Unknown",
        "reason": "NodeStatusNeverUpdated",
        "message": "Kubelet never posted node status.",
        "lastHeartbeatTime": node["metadata"].get("creationTimestamp") or rfc3339(now),
        "lastTransitionTime": rfc3339(now),
    }


class ZoneState(Enum):
    NORMAL = "normal"
    PARTIAL = "partial disruption"
    FULL = "full disruption"


def zone_of(node: Obj) -> str:
    """The failure domain of a node: `region/zone`, "" for nodes that do not say."""
    mark = labels_of(node)
    region = mark.get("topology.kubernetes.io/region") or ""
    zone = mark.get("topology.kubernetes.io/zone") or ""
    return f"{region}/{zone}" if region or zone else ""


def zone_state(ready: Iterable[bool], timing: Timing) -> ZoneState:
    """How bad it is in a zone, given which of its nodes are ready."""
    known = list(ready)
    dead = known.count(False)
    if dead and dead == len(known):
        return ZoneState.FULL
    if dead > 2 and dead / len(known) >= timing.unhealthy_zone:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def eviction_rate(state: ZoneState, size: int, everywhere: bool, timing: Timing) -> float:
    """Nodes per second that may be tainted NoExecute in a zone of this size; `everywhere` means that all zones are down."""
    if everywhere:
        return 0.0
    if state is ZoneState.PARTIAL:
        return timing.secondary_rate if size > timing.large_cluster else 0.0
    return timing.eviction_rate


class Bucket:
    """A token bucket of one token: lets a zone's evictions pass one by one at the zone's rate."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._ready_at = now

    def take(self, now: float) -> bool:
        """Whether one may pass now."""
        if self.rate <= 0 or now < self._ready_at:
            return False
        self._ready_at = now + 1 / self.rate
        return True

    def give_back(self, now: float) -> None:
        """What was taken was not used."""
        self._ready_at = now

    def set_rate(self, rate: float, now: float) -> None:
        if rate != self.rate:
            self.rate, self._ready_at = rate, now
