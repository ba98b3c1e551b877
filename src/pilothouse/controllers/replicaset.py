"""replicaset-controller: keeps as many pods as each ReplicaSet wants. The decisions are in `replicaset_plan`.

Sets that own many pods are looked at less often than their pods change: a look costs in proportion to the pods, and what changed
between two looks costs nothing. Reference: ReplicaSet (apps/v1).
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import PODS, REPLICA_SETS
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import Obj, controller_of, controller_uid, is_deleting, key, labels_of, split_key, uid
from pilothouse.controllers import adoption, indexes, ownership, pods
from pilothouse.controllers import replicaset_plan as plans
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.pod_control import PodControl, pod_of
from pilothouse.controllers.selection import Selectors

#: Seconds of patience per pod of a set between two looks at it.
PAUSE_PER_POD = 0.0002
LONGEST_PAUSE = 0.5


class ReplicaSetController(Controller):
    name = "replicaset-controller"
    kind = REPLICA_SETS
    #: Whether the status counts terminating pods.
    tells_terminating = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations(self.clock)
        self.control = PodControl(context, self.kind, self.expectations)
        self.selectors = self.make_selectors()
        self.sets = self.cache(self.kind)
        self.pods = self.cache(PODS)
        indexes.add(self.sets, "uid", "namespace", "controller")
        indexes.add(self.pods, "controller", "orphans")
        self.sets.add_handler(self._set_changed)
        self.pods.add_handler(self._pod_changed)

    def make_selectors(self) -> Selectors:
        return Selectors()

    # Events -----------------------------------------------------------------------------------------------------------

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self.expectations.forget(uid(old))
            self.selectors.forget(old)
        if old is not None and new is not None and old["spec"] == new["spec"] and is_deleting(old) == is_deleting(new):
            self._enqueue_soon(new)  # most likely the echo of a status of ours
        else:
            self.enqueue(new or old or {})

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
            return
        owner = self._owner(new or old or {})
        if old is not None and new is not None and controller_uid(old) != controller_uid(new):
            self._enqueue_soon(self._owner(old))
        if owner is not None:
            self._note(owner, old, new)
            self._enqueue_soon(owner)
        elif new is not None and not controller_uid(new) and not is_deleting(new):
            self._orphan_appeared(old, new)

    def _note(self, owner: Obj, old: Obj | None, new: Obj | None) -> None:
        """Tell the expectations what has come true."""
        if old is None and new is not None:
            self.expectations.creation_seen(uid(owner))
        if new is None or is_deleting(new):
            self.expectations.deletion_seen(uid(owner), uid(new or old or {}))

    def _owner(self, pod: Obj) -> Obj | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != self.kind.kind:
            return None
        return next(iter(self.sets.indexed("uid", reference["uid"])), None)

    def _enqueue_soon(self, owner: Obj | None) -> None:
        if owner is None:
            return
        size = max(plans.wanted_replicas(owner), (owner.get("status") or {}).get("replicas") or 0)
        self.enqueue(owner, min(LONGEST_PAUSE, size * PAUSE_PER_POD))

    def _orphan_appeared(self, old: Obj | None, pod: Obj) -> None:
        if old is not None and labels_of(old) == labels_of(pod) and not controller_uid(old):
            return
        for each in self.sets.indexed("namespace", pod["metadata"]["namespace"]):
            if self.selectors.of(each)(labels_of(pod)):
                self.enqueue(each)

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        owner = self.sets.get(*split_key(key))
        if owner is None:
            return
        satisfied = self.expectations.satisfied(uid(owner))
        if not satisfied:
            self.queue.add_after(key, self.expectations.patience_left(uid(owner)) + 1)
        owned = list(self.pods.indexed("controller", uid(owner)))
        terminating = sum(map(pods.is_terminating, owned))
        active = await self._claim(owner, [p for p in owned if pods.is_active(p)])
        failure = None
        if satisfied and not is_deleting(owner):
            failure = await self._manage(owner, active)
        await self._tell(owner, active, terminating, failure)
        if failure:
            raise TryAgain(failure.message)

    async def _claim(self, owner: Obj, owned: list[Obj]) -> list[Obj]:
        """The active pods that are the set's, after adoptions and releases."""
        orphans = [p for p in self.pods.indexed("orphans", owner["metadata"]["namespace"]) if pods.is_active(p)]
        claim = ownership.claim(owner, [*owned, *orphans], self.selectors.of(owner))
        if not claim.adopt and not claim.release:
            return claim.owned
        return await adoption.settle(self.api, owner, self.kind, claim, PODS)

    async def _manage(self, owner: Obj, active: list[Obj]) -> plans.Failure | None:
        plan = plans.plan(
            owner, active, self._related(owner) if len(active) > plans.wanted_replicas(owner) else (), self.clock.now()
        )
        if plan.create:
            body = pod_of(owner, self.kind, owner["spec"]["template"])
            error = await self.control.create(owner, [body] * plan.create)
            return plans.Failure("FailedCreate", str(error)) if error else None
        if plan.delete:
            error = await self.control.delete(owner, plan.delete)
            return plans.Failure("FailedDelete", str(error)) if error else None
        return None

    def _related(self, owner: Obj) -> Iterable[Obj]:
        """The active pods of all sets that the same controller owns."""
        boss = controller_uid(owner)
        for each in self.sets.indexed("controller", boss) if boss else ():
            for pod in self.pods.indexed("controller", uid(each)):
                if pods.is_active(pod):
                    yield pod

    async def _tell(self, owner: Obj, active: list[Obj], terminating: int, failure: plans.Failure | None) -> None:
        now = self.clock.now()
        counts = plans.count(owner, active, terminating, now)
        if counts.next_available is not None:
            self.queue.add_after(key(owner), counts.next_available - now)
        status = plans.status(owner, counts, failure, now, self.tells_terminating)
        if status != owner.get("status"):
            await self.api.update(self.kind, {**owner, "status": status}, "status")
