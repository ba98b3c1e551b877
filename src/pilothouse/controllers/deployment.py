"""deployment-controller: moves each Deployment's pods to its newest template. The decisions are in `deployment_plan`.

One sync makes the changes of one plan and tells the status that follows; the changes come back as events and cause the next
sync. Reference: Deployment (apps/v1).
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import DEPLOYMENTS, PODS, REPLICA_SETS
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain, is_not_found, namespace_is_terminating
from pilothouse.client.reconcile.objects import (
    Obj,
    annotations_of,
    controller_of,
    controller_uid,
    is_deleting,
    labels_of,
    split_key,
    uid,
    with_metadata,
)
from pilothouse.controllers import adoption, indexes, ownership, pods
from pilothouse.controllers import deployment_plan as plans
from pilothouse.controllers import deployment_revisions as revisions
from pilothouse.controllers import deployment_status as statuses
from pilothouse.controllers.deployment_status import Seen
from pilothouse.controllers.selection import Selectors


class DeploymentController(Controller):
    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.selectors = Selectors()
        self.deployments = self.cache(DEPLOYMENTS)
        self.sets = self.cache(REPLICA_SETS)
        self.pods = self.cache(PODS)
        indexes.add(self.deployments, "uid", "namespace")
        indexes.add(self.sets, "uid", "controller", "orphans")
        indexes.add(self.pods, "controller")
        self.deployments.add_handler(self._deployment_changed)
        self.sets.add_handler(self._set_changed)
        self.pods.add_handler(self._pod_changed)

    # Events -----------------------------------------------------------------------------------------------------------

    def _deployment_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self.selectors.forget(old)
        self.enqueue(new or old or {})

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        for each in (old, new):
            if each is not None and (owner := self._owner(each)):
                self.enqueue(owner)
        if new is not None and not controller_uid(new) and not is_deleting(new):
            for each in self.deployments.indexed("namespace", new["metadata"]["namespace"]):
                if self.selectors.of(each)(labels_of(new)):
                    self.enqueue(each)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Recreate waits for the last old pod to go."""
        if new is not None or old is None:
            return
        owner = next(iter(self.sets.indexed("uid", controller_uid(old))), None)
        deployment = self._owner(owner) if owner else None
        if deployment is not None and not plans.is_rolling(deployment):
            self.enqueue(deployment)

    def _owner(self, replica_set: Obj) -> Obj | None:
        reference = controller_of(replica_set)
        if reference is None or reference["kind"] != DEPLOYMENTS.kind:
            return None
        return next(iter(self.deployments.indexed("uid", reference["uid"])), None)

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        deployment = self.deployments.get(*split_key(key))
        if deployment is None:
            return
        if _selects_everything(deployment):
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self.context.event(deployment, DEPLOYMENTS, "Warning", "SelectingAll", message)
            return
        sets = await self._claim(deployment)
        if is_deleting(deployment):
            await self._tell(deployment, Seen(sets, revisions.newest(deployment, sets)))
            return
        plan = plans.plan(plans.State(deployment, sets, self._old_pods_run(deployment, sets)))
        seen = await self._carry_out(deployment, sets, plan)
        if seen is not None:
            await self._tell(deployment, seen)

    async def _claim(self, deployment: Obj) -> list[Obj]:
        owned = self.sets.indexed("controller", uid(deployment))
        orphans = self.sets.indexed("orphans", deployment["metadata"]["namespace"])
        claim = ownership.claim(deployment, [*owned, *orphans], self.selectors.of(deployment))
        if not claim.adopt and not claim.release:
            return claim.owned
        return await adoption.settle(self.api, deployment, DEPLOYMENTS, claim, REPLICA_SETS)

    def _old_pods_run(self, deployment: Obj, sets: Iterable[Obj]) -> bool:
        if plans.is_rolling(deployment):
            return False
        newest = revisions.newest(deployment, sets)
        old = [s for s in sets if s is not newest]
        return any(not pods.is_finished(p) for s in old for p in self.pods.indexed("controller", uid(s)))

    async def _carry_out(self, deployment: Obj, sets: list[Obj], plan: plans.Plan) -> Seen | None:
        """Make the plan's changes; what is to be seen afterwards, None if it is not the time to tell."""
        newest = plan.newest
        if plan.create is not None:
            return await self._create(deployment, sets, plan.create)
        after = {uid(s): s for s in sets}
        for change in plan.resize:
            changed = await self._resize(deployment, change)
            after[uid(changed)] = changed
            if newest is not None and uid(newest) == uid(changed):
                newest = changed
        for each in plan.delete:
            await self._forget(each)
            after.pop(uid(each), None)
        return Seen(list(after.values()), newest)

    async def _create(self, deployment: Obj, sets: list[Obj], body: Obj) -> Seen | None:
        try:
            made = await self.api.create(REPLICA_SETS, body)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return await self._met(deployment, sets, body)
            if namespace_is_terminating(error):
                return None
            return await self._failed(deployment, sets, body, error)
        self._tell_scaled(deployment, made, 0, plans.size(made))
        return Seen([*sets, made], made, created=True)

    async def _failed(self, deployment: Obj, sets: list[Obj], body: Obj, error: StatusError) -> Seen | None:
        message = f'Failed to create new replica set "{body["metadata"]["name"]}": {error}'
        self.context.event(deployment, DEPLOYMENTS, "Warning", "ReplicaSetCreateError", message)
        await self._tell(deployment, Seen(sets, None, create_error=message))
        raise TryAgain(message)

    async def _met(self, deployment: Obj, sets: list[Obj], body: Obj) -> Seen | None:
        """The name is taken: by our own set that the cache does not show yet, or by a stranger, and then another hash is needed."""
        meta = body["metadata"]
        found = await self.api.get(REPLICA_SETS, meta["namespace"], meta["name"])
        if controller_uid(found) == uid(deployment) and revisions.same_template(
            found["spec"]["template"], deployment["spec"]["template"]
        ):
            return Seen([*sets, found], found)
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        await self.api.update(DEPLOYMENTS, {**deployment, "status": status}, "status")
        return None

    async def _resize(self, deployment: Obj, change: plans.Resize) -> Obj:
        spec = {**change.target["spec"], "replicas": change.replicas}
        spec.pop("minReadySeconds", None)
        if change.min_ready:
            spec["minReadySeconds"] = change.min_ready
        body = with_metadata({**change.target, "spec": spec}, annotations=change.annotations)
        done = await self.api.update(REPLICA_SETS, body)
        self._tell_scaled(deployment, done, change.before, change.replicas)
        return done

    def _tell_scaled(self, deployment: Obj, replica_set: Obj, before: int, after: int) -> None:
        if before != after:
            way = "up" if after > before else "down"
            message = f"Scaled {way} replica set {replica_set['metadata']['name']} from {before} to {after}"
            self.context.event(deployment, DEPLOYMENTS, "Normal", "ScalingReplicaSet", message)

    async def _forget(self, replica_set: Obj) -> None:
        meta = replica_set["metadata"]
        try:
            await self.api.delete(REPLICA_SETS, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _tell(self, deployment: Obj, seen: Seen) -> None:
        """Write the status, and beside it the revision: annotations written with the status do not start a new generation."""
        now = self.clock.now()
        status = statuses.status(deployment, seen, now)
        revision = annotations_of(seen.newest).get(revisions.REVISION) if seen.newest else None
        notes = dict(annotations_of(deployment))
        if revision:
            notes[revisions.REVISION] = revision
        if status != deployment.get("status") or notes != annotations_of(deployment):
            body = with_metadata({**deployment, "status": status}, annotations=notes or None)
            await self.api.update(DEPLOYMENTS, body, "status")
        wait = statuses.wait_for_deadline(deployment, status, now)
        if wait is not None:
            self.enqueue(deployment, wait)


def _selects_everything(deployment: Obj) -> bool:
    selector = deployment["spec"].get("selector") or {}
    return not selector.get("matchLabels") and not selector.get("matchExpressions")
