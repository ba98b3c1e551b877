"""cloud-node-lifecycle-controller: removes nodes whose instance is gone, and marks those whose instance is shut down.

Only nodes that are not ready are asked about. Reference: "Cloud Controller Manager: node controller", "Non-graceful node shutdown".
"""

from __future__ import annotations

import logging

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.kit import Context, RoundsController, is_conflict, is_not_found
from pilothouse.client.reconcile.objects import Obj, condition, uid
from pilothouse.cloud import node_plan as plan
from pilothouse.cloud.provider import CloudError, InstanceNotFound, Instances

log = logging.getLogger(__name__)

#: Seconds between two rounds (`--node-monitor-period`).
PERIOD = 5.0


class CloudNodeLifecycleController(RoundsController):
    """What becomes of an instance is not told by any event."""

    name = "cloud-node-lifecycle-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.instances: Instances = context.options["instances"]
        self.period = context.options.get("node_monitor_period", PERIOD)
        self.nodes = self.cache(NODES)

    async def round(self) -> None:
        for node in self.nodes.list():
            try:
                await self._look_at(node)
            except (CloudError, StatusError, OSError) as error:
                if not is_not_found(error) and not is_conflict(error):  # those are looked at again in the next round
                    log.warning("node %s: %s", node["metadata"]["name"], error)

    async def _look_at(self, node: Obj) -> None:
        ready = condition(node, "Ready")
        if ready is not None and ready["status"] == "True":
            if plan.taint(node, plan.SHUTDOWN) is not None:
                await self._set_taints(node, plan.without_taint(node, plan.SHUTDOWN))
            return
        if not await self._exists(node):
            await self._delete(node)
        elif await self.instances.shut_down(node) and plan.taint(node, plan.SHUTDOWN) is None:
            await self._set_taints(node, [*plan.taints(node), {"key": plan.SHUTDOWN, "effect": "NoSchedule"}])

    async def _exists(self, node: Obj) -> bool:
        try:
            return await self.instances.exists(node)
        except InstanceNotFound:
            return False

    async def _delete(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        told = f"Deleting node {name} because it does not exist in the cloud provider"
        self.context.event(node, NODES, "Normal", "DeletingNode", told)
        try:
            await self.api.delete(NODES, "", name, {"preconditions": {"uid": uid(node)}})
        except StatusError as error:
            if not is_not_found(error):
                told = f"Failed deleting node {name}: {error.message}"
                self.context.event(node, NODES, "Warning", "DeletingNodeFailed", told)
                raise

    async def _set_taints(self, node: Obj, wanted: list[Obj]) -> None:
        """The version makes sure that nobody else's change is lost."""
        meta = node["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": {"taints": wanted or None}}
        await self.api.patch(NODES, "", meta["name"], body, "merge")
