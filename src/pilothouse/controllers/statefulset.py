"""statefulset-controller: pods with a name, an ordinal and claims of their own. Decisions are in `statefulset_plan`.

Pods have fixed names, so a stale cache does no harm: what exists cannot be created twice. Reference: StatefulSet (apps/v1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from pilothouse.client.reconcile.kit import (
    Context,
    Controller,
    TryAgain,
    gather,
    is_conflict,
    is_not_found,
    namespace_is_terminating,
)
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
from pilothouse.controllers import statefulset_identity as identity
from pilothouse.controllers import statefulset_plan as plans
from pilothouse.controllers.selection import Selectors

HASH_LABEL = "controller.kubernetes.io/hash"


class StatefulSetController(Controller):
    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.selectors = Selectors()
        self.sets, self.pods = self.cache(STATEFUL_SETS), self.cache(PODS)
        self.claims = self.cache(PERSISTENT_VOLUME_CLAIMS)
        revisions = self.cache(CONTROLLER_REVISIONS)
        self.revisions = history.Revisions(self.api, revisions, STATEFUL_SETS, HASH_LABEL)
        indexes.add(self.sets, "uid", "namespace")
        indexes.add(self.pods, "controller", "orphans")
        indexes.add(revisions, "controller", "orphans")
        self.sets.add_handler(self._set_changed)
        self.pods.add_handler(self._pod_changed)

    # Events -----------------------------------------------------------------------------------------------------------

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self.selectors.forget(old)
        self.enqueue(new or old or {})

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        for each in (old, new):
            if each is not None and (owner := self._owner(each)):
                self.enqueue(owner)
        if new is not None and not controller_uid(new) and not is_deleting(new):
            for each in self.sets.indexed("namespace", new["metadata"]["namespace"]):
                if self.selectors.of(each)(labels_of(new)) and identity.ordinal(new, each) is not None:
                    self.enqueue(each)

    def _owner(self, pod: Obj) -> Obj | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != STATEFUL_SETS.kind:
            return None
        return next(iter(self.sets.indexed("uid", reference["uid"])), None)

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        owner = self.sets.get(*split_key(key))
        if owner is None:
            return
        pods = await self._claim(owner)
        if is_deleting(owner):
            before = owner.get("status") or {}
            names = before.get("currentRevision") or "", before.get("updateRevision") or ""
            await self._tell(self._state(owner, *names, pods), plans.Plan())
            return
        known = await self.revisions.of(owner, self.selectors.of(owner))
        update = await self.revisions.present(owner, known, dict(owner["metadata"].get("annotations") or {}))
        if update is None:
            await self._count_collision(owner)
            return
        current = self._current(owner, known, update)
        state = self._state(owner, current["metadata"]["name"], update["metadata"]["name"], pods)
        plan = plans.plan(state)
        failed = await self._carry_out(state, plan, {current["metadata"]["name"]: current, update["metadata"]["name"]: update})
        await self._tell(state, plans.Plan() if failed else plan)
        if failed and not namespace_is_terminating(failed[0]):
            raise failed[0]
        await self._forget_old(owner, known, current, update, pods)

    async def _claim(self, owner: Obj) -> list[Obj]:
        """The set's pods. Pods that are not named after the set are never its own, whatever their labels."""
        owned = self.pods.indexed("controller", uid(owner))
        orphans = [
            p for p in self.pods.indexed("orphans", owner["metadata"]["namespace"]) if identity.ordinal(p, owner) is not None
        ]
        claim = ownership.claim(owner, [*owned, *orphans], self.selectors.of(owner))
        if claim.adopt or claim.release:
            return await adoption.settle(self.api, owner, STATEFUL_SETS, claim, PODS)
        return claim.owned

    def _current(self, owner: Obj, known: Iterable[Obj], update: Obj) -> Obj:
        """The revision that the status says is current; at first that of the template."""
        name = (owner.get("status") or {}).get("currentRevision")
        return next((r for r in known if r["metadata"]["name"] == name), update)

    def _state(self, owner: Obj, current: str, update: str, pods: Iterable[Obj]) -> plans.State:
        numbered = {n: p for p in pods if (n := identity.ordinal(p, owner)) is not None}
        return plans.State(owner, current, update, numbered, self.clock.now())

    async def _carry_out(self, state: plans.State, plan: plans.Plan, revisions: dict[str, Obj]) -> list[BaseException]:
        owner = state.stateful_set

        async def create(number: int) -> None:
            name = plans.revision_for(state, number)
            pod = identity.new_pod(owner, history.template_of(revisions[name]), name, number)
            await self._create(owner, pod, number)

        mended = await gather(*(self._mend(state, number) for number in plan.mend))
        kept = await gather(*(self._retain(owner, n, state.pods[n], condemned=True) for n in state.condemned))
        created = await gather(*map(create, plan.create))
        deleted = await gather(*(self._delete(owner, pod) for pod in plan.delete))
        return [*mended, *kept, *created, *deleted]

    async def _create(self, owner: Obj, pod: Obj, number: int) -> None:
        name, of = pod["metadata"]["name"], owner["metadata"]["name"]
        for claim in identity.claims(owner, number):
            found = self.claims.get(claim["metadata"]["namespace"], claim["metadata"]["name"])
            if found is not None and identity.is_stale(found, pod):
                raise TryAgain(f"claim {claim['metadata']['name']} still belongs to a former pod")
        await self._make_claims(owner, name, number)
        try:
            await self.api.create(PODS, pod)
        except (StatusError, OSError) as error:
            if not _is_known(error):
                self._event(owner, "Warning", "FailedCreate", f"Create Pod {name} in StatefulSet {of} failed error: {error}")
            raise
        self._event(owner, "Normal", "SuccessfulCreate", f"Create Pod {name} in StatefulSet {of} successful")

    async def _make_claims(self, owner: Obj, pod: str, number: int) -> None:
        """Create the claims of a pod that do not exist yet, with the owners that they should have from the beginning."""
        of = owner["metadata"]["name"]
        for claim in identity.claims(owner, number):
            name = claim["metadata"]["name"]
            if self.claims.get(claim["metadata"]["namespace"], name) is not None:
                continue
            owners = identity.owners_of_claim(owner, None, False, [])
            body = with_metadata(claim, ownerReferences=owners)
            try:
                await self.api.create(PERSISTENT_VOLUME_CLAIMS, body)
            except (StatusError, OSError) as error:
                if isinstance(error, StatusError) and error.reason == "AlreadyExists":
                    continue
                message = f"Create Claim {name} for Pod {pod} in StatefulSet {of} failed error: {error}"
                if not namespace_is_terminating(error):
                    self._event(owner, "Warning", "FailedCreate", message)
                raise
            self._event(owner, "Normal", "SuccessfulCreate", f"Create Claim {name} Pod {pod} in StatefulSet {of} success")

    async def _mend(self, state: plans.State, number: int) -> None:
        """Give a pod the labels and the claims that belong to its ordinal."""
        owner, pod = state.stateful_set, state.pods[number]
        if is_deleting(pod):
            return
        if any(
            self.claims.get(c["metadata"]["namespace"], c["metadata"]["name"]) is None for c in identity.claims(owner, number)
        ):
            await self._make_claims(owner, pod["metadata"]["name"], number)
        if labels := identity.missing_labels(pod, number):
            await self.api.update(PODS, with_metadata(pod, labels={**labels_of(pod), **labels}))
        await self._retain(owner, number, pod, condemned=False)

    async def _retain(self, owner: Obj, number: int, pod: Obj, condemned: bool) -> None:
        """Let the pod's claims have the owners with which they are to go."""
        for claim in identity.claims(owner, number):
            found = self.claims.get(claim["metadata"]["namespace"], claim["metadata"]["name"])
            if found is None or is_deleting(found):
                continue
            owners = identity.owners_of_claim(owner, pod, condemned, found["metadata"].get("ownerReferences") or [])
            if owners is not None:
                body = with_metadata(found, ownerReferences=owners or None)
                await self.api.update(PERSISTENT_VOLUME_CLAIMS, body)

    async def _delete(self, owner: Obj, pod: Obj) -> None:
        meta, of = pod["metadata"], owner["metadata"]["name"]
        try:
            await self.api.delete(PODS, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except (StatusError, OSError) as error:
            if is_not_found(error):
                return
            if not is_conflict(error):  # the name has passed to another pod, which the cache will show
                message = f"Delete Pod {meta['name']} in StatefulSet {of} failed error: {error}"
                self._event(owner, "Warning", "FailedDelete", message)
            raise
        self._event(owner, "Normal", "SuccessfulDelete", f"Delete Pod {meta['name']} in StatefulSet {of} successful")

    def _event(self, owner: Obj, type: str, reason: str, message: str) -> None:
        self.context.event(owner, STATEFUL_SETS, type, reason, message)

    async def _tell(self, state: plans.State, done: plans.Plan) -> None:
        owner = state.stateful_set
        status = plans.status(state, done)
        if status != (owner.get("status") or {}):
            await self.api.update(STATEFUL_SETS, {**owner, "status": status}, "status")
        moment = plans.next_available(state)
        if moment is not None:
            self.queue.add_after(key(owner), max(0.01, moment - state.now))

    async def _count_collision(self, owner: Obj) -> None:
        status = {"replicas": 0, **(owner.get("status") or {})}
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        await self.api.update(STATEFUL_SETS, {**owner, "status": status}, "status")

    async def _forget_old(self, owner: Obj, known: Sequence[Obj], current: Obj, update: Obj, pods: Iterable[Obj]) -> None:
        names = {identity.revision_of(p) for p in pods} | {current["metadata"]["name"]}
        limit = owner["spec"].get("revisionHistoryLimit", 10)

        def live(revision: Obj) -> bool:
            return revision["metadata"]["name"] in names

        await self.revisions.forget(history.superfluous(known, update, live, limit, count_live=False))


def _is_known(error: BaseException) -> bool:
    """What the next look, with a fresher cache, will put right without words."""
    return namespace_is_terminating(error) or (isinstance(error, StatusError) and error.reason == "AlreadyExists")
