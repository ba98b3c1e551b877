"""endpointslice-controller: publishes where each Service's pods are. The decisions are in `endpointslice_plan`.

A pod's event costs the Services that select it (found by an index, not by asking every Service), and a Service's slices are computed
at most once per pause, however many of its pods change meanwhile. Reference: EndpointSlice (discovery.k8s.io/v1).
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.errors import StatusError
from pilothouse.controllers import endpointslice_plan as plans
from pilothouse.controllers import indexes, service_pods
from pilothouse.controllers.kinds import ENDPOINT_SLICES, NODES, PODS, SERVICES
from pilothouse.controllers.kit import Context, Controller, TryAgain, gather, is_not_found
from pilothouse.controllers.objects import Obj, is_deleting, key, labels_of, split_key, uid
from pilothouse.controllers.pods import is_finished, is_ready
from pilothouse.controllers.selection import match_pairs
from pilothouse.controllers.service_pods import TriggerTimes

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
        self.written = _Written()
        indexes.add(self.slices, "service")
        self.slices.add_handler(self._slice_changed)
        self.nodes.add_handler(self._node_changed)
        self._waiting: set[str] = set()

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Somebody else changed a slice of ours: look at its Service."""
        for each in (old, new):
            if each is not None and labels_of(each).get(plans.MANAGED_BY) == plans.MANAGER:
                owner = f"{each['metadata']['namespace']}/{labels_of(each).get(plans.SERVICE_NAME)}"
                if not self.written.is_expected(owner, each, gone=new is None):
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
            self.written.forget(key)
            self.forget(key)
            return
        if not service_pods.selects(service) or is_deleting(service):
            return
        present = list(self.slices.indexed("service", key))
        slices = [s for s in present if labels_of(s).get(plans.MANAGED_BY) == plans.MANAGER and not is_deleting(s)]
        if self.written.is_stale(key, slices):
            raise TryAgain(f"{key}: the cache does not show the last writes yet")
        pods = self.selected(service)
        plan = plans.plan(service, pods, lambda name: self.nodes.get("", name), slices, self.triggers.of(service, pods))
        await self._carry_out(key, plan)
        if plan.missing_nodes:
            self._waiting.add(key)
            message = f"Error updating Endpoint Slices for Service {key}: {', '.join(plan.missing_nodes)}"
            self.context.event(service, SERVICES, "Warning", "FailedToUpdateEndpointSlices", message)
            raise TryAgain(message)

    async def _carry_out(self, owner: str, plan: plans.Plan) -> None:
        failed = await gather(
            *(self._create(owner, body) for body in plan.create),
            *(self._update(owner, body) for body in plan.update),
            *(self._delete(owner, each) for each in plan.delete),
        )
        if failed:
            raise failed[0]

    async def _create(self, owner: str, body: Obj) -> None:
        self.written.note(owner, await self.api.create(ENDPOINT_SLICES, body))

    async def _update(self, owner: str, body: Obj) -> None:
        self.written.note(owner, await self.api.update(ENDPOINT_SLICES, body))

    async def _delete(self, owner: str, each: Obj) -> None:
        meta = each["metadata"]
        self.written.note_deletion(owner, each)
        try:
            await self.api.delete(ENDPOINT_SLICES, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except StatusError as error:
            if not is_not_found(error):
                self.written.note(owner, each)
                raise


class _Written:
    """The last write of each slice, by Service: a cache that does not show them all must not be believed.

    Otherwise a Service whose new slice is still on its way through the watch would get a second one.
    """

    def __init__(self) -> None:
        self._by_owner: dict[str, dict[str, int]] = {}

    def note(self, owner: str, each: Obj) -> None:
        self._by_owner.setdefault(owner, {})[uid(each)] = _version(each)

    def note_deletion(self, owner: str, each: Obj) -> None:
        self._by_owner.setdefault(owner, {})[uid(each)] = -1

    def is_stale(self, owner: str, slices: Iterable[Obj]) -> bool:
        written = self._by_owner.get(owner)
        if not written:
            return False
        shown = {uid(s): _version(s) for s in slices}
        for each, version in list(written.items()):
            if version < 0 and each not in shown:
                del written[each]
            elif version < 0 or shown.get(each, 0) < version:
                return True
        return False

    def is_expected(self, owner: str, each: Obj, gone: bool) -> bool:
        """Whether an event is the echo of a write of ours. A slice that others deleted is not waited for any more."""
        written = self._by_owner.get(owner, {})
        version = written.get(uid(each))
        if gone:
            written.pop(uid(each), None)
            return version is None or version < 0
        return version is not None and (version < 0 or _version(each) <= version)

    def forget(self, owner: str) -> None:
        self._by_owner.pop(owner, None)


def _version(obj: Obj) -> int:
    """Resource versions of one kind are ordered."""
    text = obj["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdecimal() else 0
