"""cloud-node-controller: tells new nodes what they are at the cloud, and keeps their addresses as the cloud has them.

A node that bears the taint `node.cloudprovider.kubernetes.io/uninitialized` gets its provider's id and its labels, and loses the taint, in one
write; its addresses come right after, and are looked at again every five minutes. Labels follow those under former names. Reference: "Cloud Controller Manager: node controller".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.metrics import Histogram, exponential
from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain, is_conflict, is_not_found
from pilothouse.client.reconcile.objects import Obj, created_at, labels_of, uid
from pilothouse.cloud import node_plan as plan
from pilothouse.cloud.provider import CloudError, InstanceMetadata, Instances, Zones

log = logging.getLogger(__name__)

#: Seconds between two looks at the addresses of nodes (`--node-status-update-frequency`).
PERIOD = 300.0
#: How often a write is tried over other writers, and seconds between.
ATTEMPTS, PAUSE = 20, 0.05
_BUCKETS = exponential(1, 4, 6)


class CloudNodeController(Controller):
    name = "cloud-node-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.instances: Instances = context.options["instances"]
        self.zones: Zones | None = context.options.get("zones")
        self.period: float = context.options.get("node_status_update_frequency", PERIOD)
        self._synced = Histogram(
            "node_controller_initial_node_sync_delay_seconds",
            "Seconds from a node's creation to the end of its first sync.",
            (),
            _BUCKETS,
        )
        self._ready = Histogram(
            "node_controller_cloud_provider_taint_removal_delay_seconds",
            "Seconds from a node's creation to the removal of its taint.",
            (),
            _BUCKETS,
        )
        self.metrics = (self._synced, self._ready)
        self.nodes = self.cache(NODES)
        self.nodes.add_handler(self._changed)

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._refresh(),)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and (plan.taint(new, plan.UNINITIALIZED) is not None or plan.reconciled_labels(labels_of(new))):
            self.enqueue(new)

    # --- new nodes -----------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        node = self.nodes.get("", key)
        if node is None:
            return
        if plan.taint(node, plan.UNINITIALIZED) is None:
            await self._reconcile_labels(node)
            return
        try:
            instance = await self._instance(node)
            if not node["spec"].get("providerID") and not instance.provider_id:
                raise ValueError("the cloud does not tell its provider ID")
            plan.addresses(node, instance)  # a node that would get addresses which it must not have is not taken in
        except (CloudError, ValueError) as error:
            log.warning("node %s cannot be initialized: %s", key, error)
            raise TryAgain(str(error)) from error
        written = await self._initialize(node, instance)
        if written is not None:
            self._ready.observe(self.clock.now() - created_at(node))
            await self._set_addresses(written, instance)
            self.context.event(node, NODES, "Normal", "Synced", "Node synced successfully")
            self._synced.observe(self.clock.now() - created_at(node))

    async def _reconcile_labels(self, node: Obj) -> None:
        wanted = plan.reconciled_labels(labels_of(node))
        if wanted:
            body = {"metadata": {"uid": uid(node), "labels": wanted}}
            await self.api.patch(NODES, "", node["metadata"]["name"], body, "strategic")

    async def _instance(self, node: Obj) -> InstanceMetadata:
        instance = await self.instances.metadata(node)
        if self.zones is None or (instance.zone and instance.region):
            return instance
        zone = await self.zones.zone(node)
        return replace(instance, zone=instance.zone or zone.zone, region=instance.region or zone.region)

    async def _initialize(self, node: Obj, instance: InstanceMetadata) -> Obj | None:
        """Write what the cloud says, over whatever others wrote meanwhile. None if there is nothing to do any more."""
        current = node
        for attempt in range(ATTEMPTS):
            if uid(current) != uid(node) or plan.taint(current, plan.UNINITIALIZED) is None:
                return None
            try:
                return await self.api.update(NODES, plan.initialized(current, instance))
            except StatusError as error:
                if is_not_found(error):
                    return None
                if not is_conflict(error) or attempt + 1 == ATTEMPTS:
                    raise
            await self.clock.sleep(PAUSE * (1 + self.clock.random.random()))
            current = await self.api.get(NODES, "", node["metadata"]["name"])
        raise AssertionError("unreachable")

    # --- all nodes -----------------------------------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        async for _ in self.every(self.period):
            todo = iter([n for n in self.nodes.list() if plan.taint(n, plan.UNINITIALIZED) is None])
            await asyncio.gather(*(self._refresh_each(todo) for _ in range(self.workers)))

    async def _refresh_each(self, todo: Iterable[Obj]) -> None:
        for node in todo:
            try:
                await self._set_addresses(node, await self.instances.metadata(node))
            except (CloudError, StatusError, OSError) as error:
                log.warning("node %s: %s", node["metadata"]["name"], error)

    async def _set_addresses(self, node: Obj, instance: InstanceMetadata) -> None:
        """What cannot be written now is looked at again with all others."""
        name = node["metadata"]["name"]
        if not instance.addresses:
            return
        try:
            wanted = plan.addresses(node, instance)
            if not plan.same_addresses(wanted, (node.get("status") or {}).get("addresses") or ()):
                body = {"metadata": {"uid": uid(node)}, "status": {"addresses": wanted}}
                await self.api.patch(NODES, "", name, body, "merge", "status")
        except (ValueError, StatusError, OSError) as error:
            log.warning("addresses of node %s: %s", name, error)
