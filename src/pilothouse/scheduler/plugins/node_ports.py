"""NodePorts: two pods of a node cannot have the same host port on the same address."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.framework import SKIP, ClusterEvent, Cycle, Plugin, Rejected, Status
from pilothouse.scheduler.table import Ints, Mask, Row

ANY = "0.0.0.0"


class NodePorts(Plugin):
    name = "NodePorts"
    events = (ClusterEvent("AssignedPod", "Delete"), ClusterEvent("Node", "Add"))

    def pre_filter(self, cycle: Cycle) -> Status | None:
        return None if cycle.pod.ports else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        taken = cycle.cached_rows(self.name, "both", np.bool_, lambda rows: self._taken(cycle, rows))
        return (Rejected("node(s) didn't have free ports for the requested pod ports", taken),)

    @staticmethod
    def _taken(cycle: Cycle, rows: Ints) -> Mask:
        nodes = [cycle.table.rows[i] for i in rows]
        return np.array([n is not None and conflicts(cycle.pod.ports, n) for n in nodes], dtype=np.bool_)


def conflicts(wanted: Iterable[tuple[str, str, int]], node: Row) -> bool:
    """Whether any wanted port is in use: addresses clash when equal or when one of them is the wildcard."""
    return any(
        protocol == used_protocol and port == used_port and (ANY in (ip, used_ip) or ip == used_ip)
        for ip, protocol, port in wanted
        for used_ip, used_protocol, used_port in node.ports
    )
