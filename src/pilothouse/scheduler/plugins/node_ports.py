"""NodePorts: two pods of a node cannot have the same host port on the same address."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, SKIP, ClusterEvent, Code, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.podinfo import PodInfo, host_ports
from pilothouse.scheduler.table import Ints, Mask, Row
from pilothouse.scheduler.trial import Trial

Port = tuple[str, str, int]  # address, protocol, port

ANY = "0.0.0.0"
REASON = "node(s) didn't have free ports for the requested pod ports"


class NodePorts(Plugin):
    name = "NodePorts"
    refit_is_local = True
    hints_alike = True
    events = (ClusterEvent("AssignedPod", "Delete"), ClusterEvent("Node", "Add"))

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return NOWHERE if pod.ports else IDLE_FILTER

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        return event.resource != "AssignedPod" or old is None or clash(pod.ports, host_ports(old["spec"]))

    def pre_filter(self, cycle: Cycle) -> Status | None:
        return None if cycle.pod.ports else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        taken = cycle.cached_rows(self.name, "both", np.bool_, lambda rows: self._taken(cycle, rows))
        return (Rejected(REASON, taken),)

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        used = [port for pod in trial.left() for port in pod.ports]
        return Status(Code.UNSCHEDULABLE, (REASON,)) if clash(cycle.pod.ports, used) else None

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        holders = sorted(p.key for p in node.pods.values() if clash(cycle.pod.ports, p.ports))
        return f"the ports are held by {', '.join(holders)}" if holders else None

    @staticmethod
    def _taken(cycle: Cycle, rows: Ints) -> Mask:
        nodes = [cycle.table.rows[i] for i in rows]
        return np.array([n is not None and clash(cycle.pod.ports, n.ports) for n in nodes], dtype=np.bool_)


def clash(wanted: Iterable[Port], used: Iterable[Port]) -> bool:
    """Whether any wanted port is in use: addresses clash when equal or when one of them is the wildcard."""
    return any(
        protocol == used_protocol and port == used_port and (ANY in (ip, used_ip) or ip == used_ip)
        for ip, protocol, port in wanted
        for used_ip, used_protocol, used_port in used
    )
