"""daemonset-controller: a pod on every node that a DaemonSet belongs on. Decisions are in `daemonset_plan`. Reference: apps/v1."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from pilothouse.client.reconcile.backoff import Backoff
from pilothouse.client.reconcile.kinds import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import (
    Obj,
    controller_of,
    controller_uid,
    is_deleting,
    key,
    labels_of,
    split_key,
    uid,
    with_metadata,
)
from pilothouse.controllers import adoption, indexes, ownership
from pilothouse.controllers import controller_revisions as history
from pilothouse.controllers import daemonset_nodes as places
from pilothouse.controllers import daemonset_plan as plans
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.pod_control import PodControl
from pilothouse.controllers.pods import is_finished, phase
from pilothouse.controllers.selection import Selectors

#: Pauses between two failed pods of a set on one node.
FIRST_PAUSE, LONGEST_PAUSE, COLLECT_EVERY = 1.0, 900.0, 60.0
#: Seconds for which changes of pods are gathered before a look at their set.
LOOK_PER_NODE, LONGEST_LOOK = 0.0002, 0.5


class DaemonSetController(Controller):
    name = "daemonset-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations(self.clock)
        self.control = PodControl(context, DAEMON_SETS, self.expectations)
        self.selectors = Selectors()
        self.failures = Backoff(self.clock, FIRST_PAUSE, LONGEST_PAUSE)
        self.sets, self.pods, self.nodes = self.cache(DAEMON_SETS), self.cache(PODS), self.cache(NODES)
        revisions = self.cache(CONTROLLER_REVISIONS)
        self.revisions = history.Revisions(self.api, revisions, DAEMON_SETS, places.HASH_LABEL)
        indexes.add(self.sets, "uid", "namespace")
        indexes.add(self.pods, "controller", "orphans")
        indexes.add(revisions, "controller", "orphans")
        self.sets.add_handler(self._set_changed)
        self.pods.add_handler(self._pod_changed)
        self.nodes.add_handler(self._node_changed)
        revisions.add_handler(self._revision_changed)

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._collect(),)

    async def _collect(self) -> None:
        async for _ in self.every(COLLECT_EVERY):
            self.failures.collect()

    # Events -----------------------------------------------------------------------------------------------------------

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self.expectations.forget(uid(old))
            self.selectors.forget(old)
        self.enqueue(new or old or {})

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        owner = self._owner(pod)
        if old is not None and new is not None and controller_uid(old) != controller_uid(new) and (former := self._owner(old)):
            self.enqueue(former)
        if owner is not None:
            if old is None:
                self.expectations.creation_seen(uid(owner))
            if new is None or is_deleting(new):
                self.expectations.deletion_seen(uid(owner), uid(pod))
            size = (owner.get("status") or {}).get("desiredNumberScheduled") or 0
            self.enqueue(owner, min(LONGEST_LOOK, size * LOOK_PER_NODE))
        elif new is not None and not controller_uid(new) and not is_deleting(new):
            self._wake_matching(new)

    def _revision_changed(self, old: Obj | None, new: Obj | None) -> None:
        revision = new or old or {}
        if owner := self._owner(revision):
            self.enqueue(owner)
        elif new is not None and not controller_uid(new):
            self._wake_matching(new)

    def _wake_matching(self, orphan: Obj) -> None:
        for each in self.sets.indexed("namespace", orphan["metadata"]["namespace"]):
            if self.selectors.of(each)(labels_of(orphan)):
                self.enqueue(each)

    def _owner(self, obj: Obj) -> Obj | None:
        reference = controller_of(obj)
        if reference is None or reference["kind"] != DAEMON_SETS.kind:
            return None
        return next(iter(self.sets.indexed("uid", reference["uid"])), None)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Heartbeats are many, changes that move a daemon pod few. Of a node that is gone its pods tell, as they go."""
        if new is None or (old is not None and _matters(old) == _matters(new)):
            return
        for each in self.sets.list():
            place = places.placer(each)
            if place(new).start if old is None else place(old) != place(new):
                self.enqueue(each)

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        owner = self.sets.get(*split_key(key))
        if owner is None:
            return
        selector = owner["spec"].get("selector") or {}
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.context.event(owner, DAEMON_SETS, "Warning", "SelectingAll", message)
            return
        if is_deleting(owner):
            return
        known = await self.revisions.of(owner, self.selectors.of(owner))
        current = await self.revisions.present(owner, known, dict(owner["metadata"].get("annotations") or {}))
        if current is None:
            await self._count_collision(owner)
            return
        pods = await self._claim(owner)
        await self._drop_duplicates(owner, current, known, pods)
        state = self._state(owner, current, pods)
        satisfied = self.expectations.satisfied(uid(owner))
        error = await self._manage(state) if satisfied else None
        if not satisfied:
            self.queue.add_after(key, self.expectations.patience_left(uid(owner)) + 1)
        await self._tell(state, satisfied)
        if error is not None:
            raise error
        if satisfied:
            await self._forget_old(owner, current, known, pods)

    async def _claim(self, owner: Obj) -> list[Obj]:
        owned = self.pods.indexed("controller", uid(owner))
        orphans = self.pods.indexed("orphans", owner["metadata"]["namespace"])
        claim = ownership.claim(owner, [*owned, *orphans], self.selectors.of(owner))
        if not claim.adopt and not claim.release:
            return claim.owned
        return await adoption.settle(self.api, owner, DAEMON_SETS, claim, PODS)

    def _state(self, owner: Obj, current: Obj, pods: Iterable[Obj]) -> plans.State:
        living = [p for p in pods if not (is_deleting(p) and is_finished(p))]
        mark = labels_of(current).get(places.HASH_LABEL, "")
        return plans.state_of(owner, self.nodes.list(), living, mark, self.clock.now())

    async def _manage(self, state: plans.State) -> BaseException | None:
        plan = plans.manage(state)
        plan.delete += self._due(state.daemon_set, plan.ended)
        if not plan.create and not plan.delete and plans.is_rolling(state.daemon_set):
            plan = plans.roll(state)
        owner = state.daemon_set
        bodies = [places.daemon_pod(owner, state.mark, name) for name in plan.create[: plans.BURST]]
        error = await self.control.create(owner, bodies) if bodies else None
        doomed = plan.delete[: plans.BURST]
        return (await self.control.delete(owner, doomed) if doomed else None) or error

    def _due(self, owner: Obj, ended: Sequence[Obj]) -> list[Obj]:
        """Finished pods to replace now; failed ones of a node only after a pause."""
        out = []
        for pod in ended:
            meta, node = pod["metadata"], places.target(pod)
            of = f"{meta['namespace']}/{meta['name']} on node {node}"
            if phase(pod) == "Succeeded":
                message = f"Found succeeded daemon pod {of}, will try to delete it"
                self.context.event(owner, DAEMON_SETS, "Normal", "SucceededDaemonPod", message)
                out.append(pod)
                continue
            item = f"{uid(owner)}/{node}"
            if wait := self.failures.left(item):
                self.enqueue(owner, wait)
                continue
            self.failures.failed(item)
            message = f"Found failed daemon pod {of}, will try to kill it"
            self.context.event(owner, DAEMON_SETS, "Warning", "FailedDaemonPod", message)
            out.append(pod)
        return out

    async def _tell(self, state: plans.State, observed: bool) -> None:
        owner = state.daemon_set
        status, moment = plans.status(state, observed)
        if status != (owner.get("status") or {}):
            await self.api.update(DAEMON_SETS, {**owner, "status": status}, "status")
        if moment is not None:
            self.queue.add_after(key(owner), max(0.01, moment - state.now))

    async def _count_collision(self, owner: Obj) -> None:
        """The name of the revision to be belongs to another one: hash differently."""
        status = dict(owner.get("status") or {})
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        await self.api.update(DAEMON_SETS, {**owner, "status": status}, "status")

    async def _drop_duplicates(self, owner: Obj, current: Obj, known: Sequence[Obj], pods: Iterable[Obj]) -> None:
        """Of several revisions of one template one stays, and its pods say so."""
        doomed = [r for r in known if uid(r) != uid(current) and history.same(r["data"], current["data"])]
        marks = {labels_of(r).get(places.HASH_LABEL) for r in doomed}
        mark = labels_of(current).get(places.HASH_LABEL, "")
        for pod in pods if doomed else ():
            if labels_of(pod).get(places.HASH_LABEL) in marks:
                labels = {**labels_of(pod), places.HASH_LABEL: mark}
                await self.api.update(PODS, with_metadata(pod, labels=labels))
        await self.revisions.forget(doomed)

    async def _forget_old(self, owner: Obj, current: Obj, known: Sequence[Obj], pods: Iterable[Obj]) -> None:
        marks = {labels_of(p).get(places.HASH_LABEL) for p in pods}
        limit = owner["spec"].get("revisionHistoryLimit", 10)

        def live(revision: Obj) -> bool:
            return labels_of(revision).get(places.HASH_LABEL) in marks

        await self.revisions.forget(history.superfluous(known, current, live, limit, count_live=True))


def _matters(node: Obj) -> tuple[Any, ...]:
    return node["metadata"].get("labels"), node["spec"].get("taints")
