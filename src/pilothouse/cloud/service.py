"""service-lb-controller: the load balancers of Services, made, kept and removed at the cloud.

A Service gets the finalizer before anything is made for it, and loses it after everything is gone, so that a manager that is killed in between
leaves nothing behind: the next one finds the Service. Whatever is not through is tried again after 5 s, then twice as long, up to 5 minutes.
When the set of nodes changes, load balancers are told of the nodes alone, and the whole of a Service is done anew only where that
failed. Reference: "Service: type LoadBalancer"; KEP-3458.

Stricter than Kubernetes' controller in one way: the cloud is told to remove a load balancer also where it says that there is none, because what
was made only in part may not be seen as one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import StatusError
from pilothouse.client.metrics import Counter, Histogram, exponential
from pilothouse.client.reconcile.kinds import NODES, SERVICES
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain, is_not_found
from pilothouse.client.reconcile.objects import Obj, key, split_key, uid
from pilothouse.cloud import service_plan as plan
from pilothouse.cloud.locks import KeyedLocks
from pilothouse.cloud.provider import CloudError, ImplementedElsewhere, LoadBalancers, RetryAfter

log = logging.getLogger(__name__)

#: Seconds between two looks at Services that should have been cleaned up, and at the set of nodes.
SERVICE_PERIOD, NODE_PERIOD = 30.0, 100.0
_BUCKETS = exponential(1, 2, 15)


class Failed(Exception):
    """What could not be done, in the words of the event. `seconds`: when to look again, if the cloud said so."""

    def __init__(self, what: str, why: Exception) -> None:
        super().__init__(f"{what}: {_told(why)}")
        self.seconds = why.seconds if isinstance(why, RetryAfter) else 0.0


class ServiceController(Controller):
    name = "service-lb-controller"
    workers = 1
    first_pause: ClassVar[float] = 5.0
    longest_pause: ClassVar[float] = 300.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.balancers: LoadBalancers = context.options["load_balancers"]
        self.cluster: str = context.options["cluster_name"]
        #: Services that have, or may have, a load balancer, as they were when that was last looked after.
        self.known: dict[str, Obj] = {}
        #: The nodes that each load balancer was last told of.
        self._told: dict[str, frozenset[tuple[str, str]]] = {}
        #: One thing at a time is done to a load balancer.
        self._locks = KeyedLocks()
        self._nodes_changed = asyncio.Event()
        #: The nodes that load balancers get, for as long as no node changes: many Services ask for the same.
        self._eligible: tuple[list[Obj], frozenset[tuple[str, str]]] | None = None
        self._syncs = Counter("service_controller_loadbalancer_sync_total", "Load balancers that were made or changed.")
        self._node_errors = Counter("service_controller_nodesync_error_total", "Failures to tell load balancers of nodes.")
        self._node_seconds = Histogram(
            "service_controller_nodesync_latency_seconds", "Seconds to tell all load balancers of nodes.", (), _BUCKETS
        )
        self._host_seconds = Histogram(
            "service_controller_update_loadbalancer_host_latency_seconds",
            "Seconds to tell one load balancer of nodes.",
            (),
            _BUCKETS,
        )
        self.metrics = (self._syncs, self._node_errors, self._node_seconds, self._host_seconds)
        self.nodes = self.cache(NODES)
        self.services = self.cache(SERVICES)
        self.nodes.add_handler(self._node_changed)
        self.services.add_handler(self._service_changed)

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._follow_nodes(), self._look_at_nodes(), self._look_for_cleanup())

    # --- what changed --------------------------------------------------------------------------------------------------------------

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            if old is not None and key(old) in self.known:
                self.enqueue(old)
        elif plan.needs_cleanup(new) or (plan.wants_load_balancer(new) if old is None else plan.needs_update(old, new)):
            self.enqueue(new)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._eligible = None
        if old is None or new is None or plan.concerns_load_balancers(old, new):
            self._nodes_changed.set()

    async def _look_at_nodes(self) -> None:
        async for _ in self.every(NODE_PERIOD):
            self._nodes_changed.set()

    async def _look_for_cleanup(self) -> None:
        async for _ in self.every(SERVICE_PERIOD):
            for service in self.services.list():
                if plan.needs_cleanup(service):
                    self.enqueue(service)

    # --- services ------------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        async with self._locks.hold(key):
            service = self.services.get(*split_key(key))
            try:
                if service is None:
                    await self._remove_forgotten(key)
                else:
                    await self._bring_about(key, service)
            except Failed as failure:
                log.warning("service %s: %s", key, failure)
                if not failure.seconds:
                    raise TryAgain(str(failure)) from failure
                self.queue.add_after(key, failure.seconds)

    async def _bring_about(self, key: str, service: Obj) -> None:
        former = self.known.get(key)
        if former is not None and uid(former) != uid(service):
            await self._remove(former)  # it went without its finalizer, and another one came
        self.known[key] = service
        try:
            if plan.needs_cleanup(service) or not plan.wants_load_balancer(service):
                await self._clean_up(service)
                self._forget(key)
            else:
                await self._ensure(key, service)
        except Failed as failure:
            self._event(service, "Warning", "SyncLoadBalancerFailed", f"Error syncing load balancer: {failure}")
            raise

    def _forget(self, key: str) -> None:
        self.known.pop(key, None)
        self._told.pop(key, None)

    async def _ensure(self, key: str, service: Obj) -> None:
        self._event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        await self._set_finalizer(service, wanted=True)
        nodes, self._told[key] = self._nodes()
        if not nodes:
            self._event_of_no_nodes(service)
        self._syncs.add()
        try:
            status = await self.balancers.ensure(self.cluster, service, nodes)
        except ImplementedElsewhere:
            return
        except CloudError as error:
            raise Failed("failed to ensure load balancer", error) from error
        self._event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        await self._set_status(service, status)
        while self._told[key] != self._nodes()[1]:  # they have changed meanwhile
            await self._tell_nodes(key, service)

    async def _clean_up(self, service: Obj) -> None:
        try:
            found = await self.balancers.get(self.cluster, service)
        except CloudError as error:
            raise Failed("failed to check if load balancer exists before cleanup", error) from error
        if found is not None:
            self._event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        try:
            await self.balancers.ensure_deleted(self.cluster, service)
        except ImplementedElsewhere:
            pass  # whoever made it removes it
        except CloudError as error:
            raise Failed("failed to delete load balancer", error) from error
        await self._set_finalizer(service, wanted=False)
        self._event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
        await self._set_status(service, {})

    async def _remove_forgotten(self, key: str) -> None:
        """A Service is gone, which its finalizer should have prevented."""
        former = self.known.get(key)
        if former is not None:
            await self._remove(former)
            self._forget(key)

    async def _remove(self, service: Obj) -> None:
        if not plan.wants_load_balancer(service):
            return
        self._event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        try:
            await self.balancers.ensure_deleted(self.cluster, service)
        except ImplementedElsewhere:
            return
        except CloudError as error:
            self._event(service, "Warning", "DeleteLoadBalancerFailed", f"Error deleting load balancer: {_told(error)}")
            raise Failed("failed to delete load balancer", error) from error
        self._event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")

    async def _set_finalizer(self, service: Obj, wanted: bool) -> None:
        """By the status subresource, which is what the controller may write."""
        if plan.has_finalizer(service) == wanted:
            return
        named = "finalizers" if wanted else "$deleteFromPrimitiveList/finalizers"
        what = "add" if wanted else "remove"
        try:
            await self._patch(service, {"metadata": {"uid": uid(service), named: [plan.FINALIZER]}}, "strategic")
        except (StatusError, OSError) as error:
            if not wanted and is_not_found(error):
                return
            raise Failed(f"failed to {what} load balancer cleanup finalizer", error) from error

    async def _set_status(self, service: Obj, status: Obj) -> None:
        """Only the load balancer's part: conditions, such as LoadBalancerPortsError, are others' words."""
        if plan.same_status(plan.status_of(service), status):
            return
        wanted = {"ingress": status["ingress"]} if status.get("ingress") else {"ingress": None}
        try:
            await self._patch(service, {"metadata": {"uid": uid(service)}, "status": {"loadBalancer": wanted}}, "merge")
        except (StatusError, OSError) as error:
            if is_not_found(error):
                return  # it may go as soon as its finalizer does
            raise Failed("failed to update load balancer status", error) from error

    async def _patch(self, service: Obj, patch: Obj, how: str) -> None:
        meta = service["metadata"]
        await self.api.patch(SERVICES, meta["namespace"], meta["name"], patch, how, "status")

    # --- nodes ---------------------------------------------------------------------------------------------------------------------

    def _nodes(self) -> tuple[list[Obj], frozenset[tuple[str, str]]]:
        """The nodes that load balancers get, and what they are compared by."""
        if self._eligible is None:
            nodes = [n for n in self.nodes.list() if plan.is_eligible(n)]
            self._eligible = nodes, plan.identities(nodes)
        return self._eligible

    async def _follow_nodes(self) -> None:
        """Tell all load balancers of the nodes, each time that these change; as many at once as there are workers."""
        while True:
            await self._nodes_changed.wait()
            self._nodes_changed.clear()
            began = self.clock.monotonic()
            todo = iter(list(self.known))
            await asyncio.gather(*(self._tell_each(todo) for _ in range(self.workers)))
            self._node_seconds.observe(self.clock.monotonic() - began)

    async def _tell_each(self, todo: Iterable[str]) -> None:
        for each in todo:
            if self._locks.held(each):
                continue  # whoever works on it looks at the nodes again when that is through
            async with self._locks.hold(each):
                service = self.known.get(each)
                while service is not None and plan.wants_load_balancer(service) and self._told.get(each) != self._nodes()[1]:
                    await self._tell_nodes(each, service)

    async def _tell_nodes(self, key: str, service: Obj) -> None:
        nodes, self._told[key] = (
            self._nodes()
        )  # whether that succeeds or not: a failure makes the whole of the Service be done again
        began = self.clock.monotonic()
        self._syncs.add()
        try:
            await self.balancers.update(self.cluster, service, nodes)
        except ImplementedElsewhere:
            return
        except CloudError as error:
            if await self._exists(service):
                self._node_errors.add()
                told = f"Error updating load balancer with new hosts {plan.names(nodes)}: {_told(error)}"
                self._event(service, "Warning", "UpdateLoadBalancerFailed", told)
                self.queue.add(key)
            return
        finally:
            self._host_seconds.observe(self.clock.monotonic() - began)
        if nodes:
            self._event(service, "Normal", "UpdatedLoadBalancer", "Updated load balancer with new hosts")
        else:
            self._event_of_no_nodes(service)

    async def _exists(self, service: Obj) -> bool:
        """Whether there is something that could not be told; where that is not known either, there may be."""
        try:
            return await self.balancers.get(self.cluster, service) is not None
        except CloudError as error:
            log.warning("service %s: failed to check if load balancer exists: %s", key(service), error)
            return True

    # --- events --------------------------------------------------------------------------------------------------------------------

    def _event_of_no_nodes(self, service: Obj) -> None:
        self._event(service, "Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")

    def _event(self, service: Obj, type: str, reason: str, message: str) -> None:
        self.context.event(service, SERVICES, type, reason, message)


def _told(error: Exception) -> str:
    return error.message if isinstance(error, StatusError) else str(error)
