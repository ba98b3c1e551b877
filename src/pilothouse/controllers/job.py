"""job-controller: runs pods to completion. Decisions are in `job_plan`, the counting in `job_status`. Reference: Job (batch/v1)."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import JOBS, PODS
from pilothouse.client.reconcile.kit import Context, Controller, gather, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, controller_of, controller_uid, is_deleting, key, labels_of, split_key, uid
from pilothouse.clock import rfc3339
from pilothouse.controllers import adoption, indexes, ownership
from pilothouse.controllers import job_plan as plans
from pilothouse.controllers import job_status as statuses
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.job_metrics import JobMetrics
from pilothouse.controllers.job_pods import job_pod
from pilothouse.controllers.pod_control import PodControl
from pilothouse.controllers.pods import is_active
from pilothouse.controllers.selection import Selectors

#: Seconds for which changes of pods are gathered before a look at their Job.
PAUSE, PAUSE_PER_POD, LONGEST_PAUSE = 0.05, 0.001, 1.0
#: Who manages a Job that says nothing else.
MANAGER = "kubernetes.io/job-controller"


class JobController(Controller):
    name = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations(self.clock)
        self.control = PodControl(context, JOBS, self.expectations)
        self.selectors = Selectors()
        self.orphans = context.queue()
        #: By Job: uids of pods whose finalizer is gone though the cache may not show it yet.
        self.released: dict[str, set[str]] = {}
        #: By Job: the revision of the last status of ours. A cache that does not have it yet would have us start pods again.
        self.written: dict[str, int] = {}
        self.backoffs: dict[str, plans.Backoff] = {}
        #: By Job: uids of finished pods that its back-off has heard of.
        self.heard: dict[str, set[str]] = {}
        self.measured = JobMetrics()
        self.metrics = self.measured.all()
        self.jobs, self.pods = self.cache(JOBS), self.cache(PODS)
        indexes.add(self.jobs, "uid", "namespace")
        indexes.add(self.pods, "controller", "orphans")
        self.jobs.add_handler(self._job_changed)
        self.pods.add_handler(self._pod_changed)

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._free_orphans(),)

    # Events -----------------------------------------------------------------------------------------------------------

    def _job_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self._forget(old)
            for pod in self.pods.indexed("controller", uid(old)):
                self._free_later(pod)
        self.enqueue(new or old or {})

    def _forget(self, job: Obj) -> None:
        self.expectations.forget(uid(job))
        self.selectors.forget(job)
        for memory in (self.released, self.written, self.backoffs, self.heard):
            memory.pop(uid(job), None)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        owner = self._owner(pod)
        if old is not None and controller_uid(old) != controller_uid(pod) and (former := self._owner(old)):
            self._enqueue_soon(former)
        if owner is not None:
            self._note(owner, old, new)
            self._enqueue_soon(owner)
        elif new is not None and not controller_uid(new) and not is_deleting(new):
            for each in self.jobs.indexed("namespace", new["metadata"]["namespace"]):
                if self.selectors.of(each)(labels_of(new)):
                    self.enqueue(each)
        if owner is None and new is not None:
            self._free_later(new)

    def _note(self, owner: Obj, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        if old is None:
            self.expectations.creation_seen(uid(owner))
        if new is None or is_deleting(new):
            self.expectations.deletion_seen(uid(owner), uid(pod))
        if new is None or not plans.is_tracked(new):
            self.released.get(uid(owner), set()).discard(uid(pod))

    def _owner(self, pod: Obj) -> Obj | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != JOBS.kind:
            return None
        return next(iter(self.jobs.indexed("uid", reference["uid"])), None)

    def _enqueue_soon(self, job: Obj) -> None:
        size = (job.get("status") or {}).get("active") or 0
        self.enqueue(job, min(LONGEST_PAUSE, PAUSE + size * PAUSE_PER_POD))

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        job = self.jobs.get(*split_key(key))
        if job is None or job["spec"].get("managedBy", MANAGER) != MANAGER or self._is_behind(job):
            return
        if plans.is_over(job):
            await self._after_the_end(job)
            return
        began, action = self.clock.monotonic(), ""
        try:
            action = await self._look(key, job)
        finally:
            self.measured.synced(job, action or "reconciling", bool(action), self.clock.monotonic() - began)

    async def _look(self, key: str, job: Obj) -> str:
        """Do what a Job needs now, and say what that was."""
        satisfied = self.expectations.satisfied(uid(job))
        if not satisfied:
            self.queue.add_after(key, self.expectations.patience_left(uid(job)) + 1)
        pods = await self._claim(job)
        now = self.clock.now()
        status = self._begun(job, now)
        seen = plans.see({**job, "status": status}, pods, self.released.get(uid(job), ()))
        backoff = self._hear(job, seen)
        end = plans.verdict(seen, now)
        error: BaseException | None = None
        active, action = len(seen.active), "reconciling"
        if end is not None:
            error = await self.control.delete(job, seen.active) if seen.active else None
            active = 0 if error is None else active
        elif satisfied and not is_deleting(job):
            active, error, action = await self._manage(job, seen, backoff)
        if end is None and plans.has_succeeded(seen, active):
            end = plans.End(True, "CompletionsReached", "Reached expected number of succeeded pods")
        elif end is None and satisfied and not is_deleting(job):
            status = self._tell_suspension(job, status, now)
        await self._count(job, replace(seen, job={**job, "status": status}), status, end, active, satisfied)
        self._look_again(job, now)
        if error is not None:
            raise error
        return action

    def _is_behind(self, job: Obj) -> bool:
        """Whether the cache will soon show a newer Job, and wake us again."""
        written = self.written.get(uid(job), 0)
        if int(job["metadata"]["resourceVersion"]) < written:
            return True
        self.written.pop(uid(job), None)
        return False

    async def _after_the_end(self, job: Obj) -> None:
        """Pods that were seen too late to be counted need not be held any longer."""
        late = [p for p in self.pods.indexed("controller", uid(job)) if plans.is_tracked(p) and not is_active(p)]
        self._forget(job)
        for pod in late:
            await self._take_finalizer(pod)

    def _begun(self, job: Obj, now: float) -> Obj:
        status = dict(job.get("status") or {})
        status.setdefault("uncountedTerminatedPods", {})
        if "startTime" not in status and not plans.is_suspended(job):
            status["startTime"] = rfc3339(now)
        return status

    async def _claim(self, job: Obj) -> list[Obj]:
        owned = self.pods.indexed("controller", uid(job))
        orphans = self.pods.indexed("orphans", job["metadata"]["namespace"])
        claim = ownership.claim(job, [*owned, *orphans], self.selectors.of(job))
        if not claim.adopt and not claim.release:
            return claim.owned
        return await adoption.settle(self.api, job, JOBS, claim, PODS, plans.FINALIZER)

    def _hear(self, job: Obj, seen: plans.Seen) -> plans.Backoff:
        """The Job's back-off with the pods that have ended since the last look."""
        ended = (*seen.new_succeeded, *seen.new_failed)
        heard = self.heard.get(uid(job), set())
        new = [p for p in ended if uid(p) not in heard]
        self.heard[uid(job)] = {uid(p) for p in ended}
        self.measured.judged(job, [p for p in new if plans.is_failed(p, job)])
        failed = {uid(p) for p in seen.new_failed}
        before = self.backoffs.get(uid(job), plans.Backoff())
        after = before.after([p for p in new if uid(p) not in failed], [p for p in new if uid(p) in failed])
        self.backoffs[uid(job)] = after
        return after

    async def _manage(self, job: Obj, seen: plans.Seen, backoff: plans.Backoff) -> tuple[int, BaseException | None, str]:
        """Create or delete; how many pods are active then, and what was done."""
        plan = plans.plan(seen, backoff, self.clock.now())
        if plan.wait is not None:
            self.enqueue(job, plan.wait)
        if plan.delete:
            await self._release(job, [p for p in plan.delete if plans.is_tracked(p)])
            error = await self.control.delete(job, plan.delete)
            return len(seen.active) - (0 if error else len(plan.delete)), error, "pods_deleted"
        if plan.create:
            error = await self.control.create(job, [job_pod(job, new) for new in plan.create])
            self.measured.created(seen, plan, error is None)
            return len(seen.active) + (0 if error else len(plan.create)), error, "pods_created"
        return len(seen.active), None, "tracking" if seen.new_succeeded or seen.new_failed else "reconciling"

    def _tell_suspension(self, job: Obj, status: Obj, now: float) -> Obj:
        if plans.is_suspended(job):
            out = statuses.with_condition(status, "Suspended", True, "JobSuspended", "Job suspended", now)
            if out is not status:
                self.context.event(job, JOBS, "Normal", "Suspended", "Job suspended")
                out = {k: v for k, v in out.items() if k != "startTime"}
            return out
        out = statuses.with_condition(status, "Suspended", False, "JobResumed", "Job resumed", now)
        if out is not status:
            self.context.event(job, JOBS, "Normal", "Resumed", "Job resumed")
            out = {**out, "startTime": rfc3339(now)}
        return out

    # Counting ---------------------------------------------------------------------------------------------------------

    async def _count(self, job: Obj, seen: plans.Seen, status: Obj, end: plans.End | None, active: int, satisfied: bool) -> None:
        now = self.clock.now()
        status = {**status, "active": active, "ready": min(seen.ready, active), "terminating": len(seen.terminating)}
        if end is not None:
            status = statuses.with_condition(status, end.first, True, end.reason, end.message, now)
        account, first = statuses.account(seen, status, end), job
        tracked = {uid(p) for p in seen.tracked}
        job = await self._write(job, statuses.settle(account.status, tracked))
        await self._release(job, account.release)
        tracked -= {uid(p) for p in account.release}
        status = statuses.settle(job.get("status") or {}, tracked)
        waiting = bool(status["uncountedTerminatedPods"]) or account.more
        over = end is not None and satisfied and not waiting and active == 0 and not seen.terminating and not seen.active
        if over and end is not None:
            status = statuses.ended(status, end, now)
        written = await self._write(job, status)
        self.measured.counted(first, written)
        if over and end is not None:
            self._tell_end(written, end)
        if account.more:
            self.enqueue(job)

    def _tell_end(self, job: Obj, end: plans.End) -> None:
        self.measured.ended(job, end)
        if end.well:
            self.context.event(job, JOBS, "Normal", "Completed", "Job completed")
        else:
            self.context.event(job, JOBS, "Warning", end.reason, end.message)

    async def _write(self, job: Obj, status: Obj) -> Obj:
        """Write the status if it says anything new; the Job with it."""
        status = statuses.tidy(status)
        if status == (job.get("status") or {}):
            return job
        done = await self.api.update(JOBS, {**job, "status": status}, "status")
        self.written[uid(done)] = int(done["metadata"]["resourceVersion"])
        return done

    async def _release(self, job: Obj, pods: Sequence[Obj]) -> None:
        """Take the finalizer from pods; the first error, once all were tried."""
        released = self.released.setdefault(uid(job), set())

        async def one(pod: Obj) -> None:
            released.add(uid(pod))
            try:
                await self._take_finalizer(pod)
            except (StatusError, OSError):
                released.discard(uid(pod))
                raise

        failed = await gather(*map(one, pods))
        if failed:
            raise failed[0]

    async def _take_finalizer(self, pod: Obj) -> None:
        meta = pod["metadata"]
        patch = {"metadata": {"uid": meta["uid"], "$deleteFromPrimitiveList/finalizers": [plans.FINALIZER]}}
        try:
            await self.api.patch(PODS, meta["namespace"], meta["name"], patch, "strategic")
        except StatusError as error:
            if not is_not_found(error):
                raise

    def _look_again(self, job: Obj, now: float) -> None:
        left = plans.deadline_left({**job, "status": self._begun(job, now)}, now)
        if left is not None and left > 0:
            self.queue.add_after(key(job), left)

    # Orphans ----------------------------------------------------------------------------------------------------------

    def _free_later(self, pod: Obj) -> None:
        """A pod whose Job is gone has nobody left to count it."""
        reference = controller_of(pod)
        if plans.is_tracked(pod) and (reference is None or reference["kind"] == JOBS.kind):
            self.orphans.add_after(key(pod), 1.0)

    async def _free_orphans(self) -> None:
        while True:
            item = await self.orphans.get()
            try:
                pod = self.pods.get(*split_key(item))
                if pod is not None and plans.is_tracked(pod) and not await self._has_job(pod):
                    await self._take_finalizer(pod)
                self.orphans.forget(item)
            except (StatusError, OSError) as error:
                log.info("%s: %s: %s", self.name, item, error)
                self.orphans.add_rate_limited(item)
            finally:
                self.orphans.done(item)

    async def _has_job(self, pod: Obj) -> bool:
        """Whether its Job, or one that will adopt it, exists: asked of the server where the cache says no."""
        reference, namespace = controller_of(pod), pod["metadata"]["namespace"]
        if reference is None:
            return any(self.selectors.of(j)(labels_of(pod)) for j in self.jobs.indexed("namespace", namespace))
        if self._owner(pod) is not None:
            return True
        try:
            return uid(await self.api.get(JOBS, namespace, reference["name"])) == reference["uid"]
        except StatusError as error:
            if is_not_found(error):
                return False
            raise
