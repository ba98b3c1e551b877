"""pod-garbage-collector-controller: removes pods that nobody else will remove.

Those are: finished pods beyond a threshold, the oldest first; pods bound to a node that does not exist any more; pods that were
deleted before they were bound; and pods being deleted on a node that an administrator has declared out of service. Reference: "Pod
lifecycle: garbage collection of Pods", KEP-2268.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import NODES, PODS
from pilothouse.client.reconcile.kit import Context, RoundsController, gather, is_conflict, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, created_at, is_deleting
from pilothouse.controllers import pods as pod_facts
from pilothouse.controllers import taints
from pilothouse.controllers.pod_status import mark

#: Seconds between two rounds, and for which a node must have been missing before its pods are.
PERIOD = 20.0
QUARANTINE = 40.0


@dataclass(frozen=True, slots=True)
class Doomed:
    """A pod to remove; with a `message` if this is a disruption that its status should tell."""

    pod: Obj
    message: str = ""
    fail: bool = True


def over_threshold(pods: Iterable[Obj], threshold: int) -> list[Obj]:
    """The finished pods beyond the threshold: evicted ones first, then the oldest. 0 or less means no limit."""
    finished = [p for p in pods if pod_facts.is_finished(p)]
    if threshold <= 0 or len(finished) <= threshold:
        return []
    finished.sort(key=lambda p: ((p.get("status") or {}).get("reason") != "Evicted", created_at(p), p["metadata"]["name"]))
    return finished[: len(finished) - threshold]


class PodGarbageCollector(RoundsController):
    name = "pod-garbage-collector-controller"
    period = PERIOD

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods = self.cache(PODS)
        self.nodes = self.cache(NODES)
        self.threshold = int(context.options.get("terminated_pod_gc_threshold", 12500))
        self._missing: dict[str, float] = {}

    async def round(self) -> None:
        pods = list(self.pods.list())
        doomed = [Doomed(p, fail=False) for p in over_threshold(pods, self.threshold)]
        doomed += self._out_of_service(pods)
        doomed += await self._orphaned(pods)
        doomed += [Doomed(p) for p in pods if is_deleting(p) and not p["spec"].get("nodeName")]
        for error in await gather(*(self._remove(d) for d in doomed)):
            log.warning("%s: %s", self.name, error)

    def _out_of_service(self, pods: Iterable[Obj]) -> list[Doomed]:
        down = {n["metadata"]["name"] for n in self.nodes.list() if taints.is_out_of_service(n)}
        return [Doomed(p) for p in pods if is_deleting(p) and p["spec"].get("nodeName") in down] if down else []

    async def _orphaned(self, pods: Iterable[Obj]) -> list[Doomed]:
        """Pods whose node has been missing for the time of quarantine and is not on the server either."""
        by_node: dict[str, list[Obj]] = {}
        for pod in pods:
            name = pod["spec"].get("nodeName")
            if name and self.nodes.get("", name) is None:
                by_node.setdefault(name, []).append(pod)
        now = self.clock.now()
        self._missing = {name: self._missing.get(name, now) for name in by_node}
        overdue = [name for name, since in self._missing.items() if now - since >= QUARANTINE]
        gone = [name for name in overdue if not await self._exists(name)]
        return [Doomed(p, "PodGC: node no longer exists") for name in gone for p in by_node[name]]

    async def _exists(self, name: str) -> bool:
        try:
            await self.api.get(NODES, "", name)
        except StatusError as error:
            if is_not_found(error):
                return False
            raise
        return True

    async def _remove(self, doomed: Doomed) -> None:
        meta = doomed.pod["metadata"]
        try:
            if doomed.message:
                await mark(self.api, doomed.pod, "DeletionByPodGC", doomed.message, self.clock.now(), fail=True)
            elif doomed.fail and not pod_facts.is_finished(doomed.pod):
                patch = {"metadata": {"uid": meta["uid"]}, "status": {"phase": "Failed"}}
                await self.api.patch(PODS, meta["namespace"], meta["name"], patch, "strategic", "status")
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            await self.api.delete(PODS, meta["namespace"], meta["name"], options)
        except StatusError as error:
            if not is_not_found(error) and not is_conflict(error):
                raise
