"""endpointslice-controller: publishes where each Service's pods are. The decisions are in `endpointslice_plan`.

A pod's event costs the Services that select it (found by an index, not by asking every Service), and a Service's slices are computed
at most once per pause, however many of its pods change meanwhile. Reference: EndpointSlice (discovery.k8s.io/v1).
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, NODES, PODS, SERVICES
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import Obj, is_deleting, key, labels_of, split_key, uid
from pilothouse.controllers import endpointslice_plan as plans
from pilothouse.controllers import indexes, service_pods
from pilothouse.controllers.pods import is_finished, is_ready
from pilothouse.controllers.selection import match_pairs
from pilothouse.controllers.service_pods import TriggerTimes
from pilothouse.controllers.slice_writer import SliceWriter

#: Seconds of patience per endpoint of a Service between two computations.
PAUSE_PER_ENDPOINT = 0.0005
LONGEST_PAUSE = 1.0


class ServicePodsController(Controller):
    """What the two endpoint controllers share: a Service is synced when it or a pod that it selects changes."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.services = self.cache(SERVICES)
        self.pods = self.cache(PODS)
        self.triggers = TriggerTimes()
        self._sizes: dict[str, int] = {}
        indexes.add(self.services, "selector")
        indexes.add(self.pods, "labels")
        self.follow(self.services)
        self.pods.add_handler(self._pod_changed)

    def selected(self, service: Obj) -> list[Obj]:
        """The pods that a Service selects."""
        wanted = service["spec"]["selector"]
        namespace, name = service["metadata"]["namespace"], min(wanted)
        candidates = self.pods.indexed("labels", f"{namespace}/{name}={wanted[name]}")
        found = [p for p in candidates if len(wanted) == 1 or match_pairs(wanted, labels_of(p))]
        self._sizes[key(service)] = len(found)
        return found

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and _face(old) == _face(new):
            return
        before = set(self._services_of(old)) if old is not None and (new is None or labels_of(old) != labels_of(new)) else set()
        for name in before | set(self._services_of(new) if new is not None else ()):
            pause = min(LONGEST_PAUSE, self._sizes.get(name, 0) * PAUSE_PER_ENDPOINT)
            if pause > PAUSE_PER_ENDPOINT * 10:
                self.queue.add_after(name, pause)
            else:
                self.queue.add(name)

    def _services_of(self, pod: Obj) -> Iterable[str]:
        mine, namespace = labels_of(pod), pod["metadata"]["namespace"]
        for k, v in mine.items():
            for service in self.services.indexed("selector", f"{namespace}/{k}={v}"):
                if match_pairs(service["spec"]["selector"], mine):
                    yield key(service)

    def forget(self, name: str) -> None:
        self.triggers.forget(name)
        self._sizes.pop(name, None)


def _face(pod: Obj) -> tuple[object, ...]:
    """Everything about a pod that shows in endpoints."""
    spec = pod["spec"]
    status = pod.get("status") or {}
    return (
        status.get("podIPs"),
        status.get("podIP"),
        is_ready(pod),
        is_deleting(pod),
        is_finished(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
        pod["metadata"].get("labels"),
        uid(pod),
    )


class EndpointSliceController(ServicePodsController):
    name = "endpointslice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.slices = self.cache(ENDPOINT_SLICES)
        self.nodes = self.cache(NODES)
        self.writer = SliceWriter(self.api)
        indexes.add(self.slices, "service")
        self._waiting: set[str] = set()
        self.slices.add_handler(self._slice_changed)
        self.nodes.add_handler(self._node_changed)

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Somebody else changed a slice of ours: look at its Service."""
        for each in (old, new):
            if each is not None and labels_of(each).get(plans.MANAGED_BY) == plans.MANAGER:
                owner = f"{each['metadata']['namespace']}/{labels_of(each).get(plans.SERVICE_NAME)}"
                if not self.writer.is_expected(owner, each, gone=new is None):
                    self.queue.add(owner)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        """A node that appears may be the one some Services' pods wait for; one that moves to another zone moves its endpoints."""
        if old is None:
            for name in self._waiting:
                self.queue.add(name)
        elif new is not None and labels_of(old).get(plans.ZONE) != labels_of(new).get(plans.ZONE):
            for service in self.services.list():
                self.enqueue(service)

    async def sync(self, key: str) -> None:
        service = self.services.get(*split_key(key))
        self._waiting.discard(key)
        if service is None:
            self.writer.forget(key)
            self.forget(key)
            return
        if not service_pods.selects(service) or is_deleting(service):
            return
        present = list(self.slices.indexed("service", key))
        slices = [s for s in present if labels_of(s).get(plans.MANAGED_BY) == plans.MANAGER and not is_deleting(s)]
        if self.writer.is_stale(key, slices):
            raise TryAgain(f"{key}: the cache does not show the last writes yet")
        pods = self.selected(service)
        plan = plans.plan(service, pods, lambda name: self.nodes.get("", name), slices, self.triggers.of(service, pods))
        await self.writer.carry_out(key, plan.create, plan.update, plan.delete)
        if plan.missing_nodes:
            self._waiting.add(key)
            message = f"Error updating Endpoint Slices for Service {key}: {', '.join(plan.missing_nodes)}"
            self.context.event(service, SERVICES, "Warning", "FailedToUpdateEndpointSlices", message)
            raise TryAgain(message)
