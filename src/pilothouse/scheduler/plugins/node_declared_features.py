"""NodeDeclaredFeatures (KEP-5328): pods that need a new feature of nodes go where it is declared (node.status.declaredFeatures).

What a pod needs is read from its spec; features that matter only when pods are changed in place need nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.framework import IDLE_FILTER, NOWHERE, SKIP, ClusterEvent, Cycle, Obj, Plugin, Rejected, Status
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints

REASON = "node declared features check failed - unsatisfied requirements: "
RESTART_ALL, HOST_NETWORK = "RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"


class NodeDeclaredFeatures(Plugin):
    name = "NodeDeclaredFeatures"
    hints_alike = True
    events = (ClusterEvent("Node", "Add"), ClusterEvent("Node", "UpdateDeclaredFeature"))

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return NOWHERE if required_features(pod.spec) else IDLE_FILTER

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        return new is not None and required_features(pod.spec) <= declared(new)

    def pre_filter(self, cycle: Cycle) -> Status | None:
        needed = required_features(cycle.pod.spec)
        cycle.state[self.name] = needed
        return None if needed else SKIP

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        # Which of the needed features a row lacks, as a number: few features, so few different reasons.
        needed = sorted(cycle.state[self.name])
        lacking = cycle.cached_rows((self.name, *needed), "static", np.int64, lambda rows: self._lacking(cycle, rows, needed))
        for bits in np.unique(lacking):
            if bits:
                names = [f for n, f in enumerate(needed) if bits >> n & 1]
                yield Rejected(REASON + ", ".join(names), lacking == bits, unresolvable=True)

    @staticmethod
    def _lacking(cycle: Cycle, rows: Ints, needed: list[str]) -> Ints:
        there = [declared(row.obj) if row is not None else frozenset[str]() for row in (cycle.table.rows[i] for i in rows)]
        return np.array([sum(1 << n for n, f in enumerate(needed) if f not in d) for d in there], dtype=np.int64)


def declared(node: Obj) -> frozenset[str]:
    return frozenset((node.get("status") or {}).get("declaredFeatures") or ())


def required_features(spec: Obj) -> frozenset[str]:
    """The features without which a node cannot run the pod."""
    out = set()
    for container in (*spec.get("containers", ()), *(spec.get("initContainers") or ())):
        if any(rule.get("action") == "RestartAllContainers" for rule in container.get("restartPolicyRules") or ()):
            out.add(RESTART_ALL)
    if spec.get("hostNetwork") and spec.get("hostUsers") is False:
        out.add(HOST_NETWORK)
    return frozenset(out)
