"""cronjob-controller: makes a Job whenever a CronJob's time has come. Decisions are in `cronjob_plan`. Reference: CronJob (batch/v1)."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable

from pilothouse.api.errors import StatusError
from pilothouse.client.metrics import Histogram, exponential
from pilothouse.client.reconcile.kinds import CRON_JOBS, JOBS
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found, namespace_is_terminating
from pilothouse.client.reconcile.objects import Obj, controller_of, controller_uid, is_deleting, split_key, uid
from pilothouse.clock import rfc3339
from pilothouse.controllers import cronjob_plan as plans
from pilothouse.controllers import indexes
from pilothouse.controllers.cron_schedule import Schedule, parse

#: Seconds after a time at which it is looked at.
DELAY = 0.1


class CronJobController(Controller):
    name = "cronjob-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.skew = Histogram(
            "cronjob_controller_job_creation_skew_duration_seconds",
            "How long after their time Jobs were created.",
            (),
            exponential(1, 2, 10),
        )
        self.metrics = (self.skew,)
        self.cron_jobs, self.jobs = self.cache(CRON_JOBS), self.cache(JOBS)
        indexes.add(self.cron_jobs, "uid")
        indexes.add(self.jobs, "controller")
        self.cron_jobs.add_handler(self._cron_job_changed)
        self.jobs.add_handler(self._job_changed)

    def _cron_job_changed(self, old: Obj | None, new: Obj | None) -> None:
        """A new schedule begins with its next time: what it would have wanted before was never asked for."""
        if old is not None and new is not None and _when(old) != _when(new):
            try:
                wait = self._until_next(parse(*_when(new)))
            except (ValueError, zoneinfo.ZoneInfoNotFoundError):
                wait = 0.0
            if wait is not None:
                self.enqueue(new, wait)
            return
        self.enqueue(new or old or {})

    def _job_changed(self, old: Obj | None, new: Obj | None) -> None:
        for job in (old, new):
            reference = controller_of(job) if job is not None else None
            if reference is not None and reference["kind"] == CRON_JOBS.kind:
                for owner in self.cron_jobs.indexed("uid", reference["uid"]):
                    self.enqueue(owner)

    def _until_next(self, schedule: Schedule) -> float | None:
        now = self.clock.now()
        moment = schedule.next(now)
        return None if moment is None else moment - now + DELAY

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        cron_job = self.cron_jobs.get(*split_key(key))
        if cron_job is None:
            return
        jobs = [j for j in self.jobs.indexed("controller", uid(cron_job)) if j["metadata"]["namespace"] == split_key(key)[0]]
        gone = await self._forget_old(cron_job, jobs)
        status = await self._known(cron_job, [j for j in jobs if uid(j) not in gone])
        cron_job = await self._write(cron_job, status)
        if is_deleting(cron_job) or cron_job["spec"].get("suspend"):
            return
        schedule = self._schedule(cron_job)
        if schedule is None:
            return
        await self._start(cron_job, schedule)
        wait = self._until_next(schedule)
        if wait is not None:
            self.enqueue(cron_job, wait)

    def _schedule(self, cron_job: Obj) -> Schedule | None:
        text, zone = _when(cron_job)
        try:
            return parse(text, zone)
        except zoneinfo.ZoneInfoNotFoundError:
            self._tell(cron_job, "Warning", "UnknownTimeZone", f'invalid timeZone: "{zone}": unknown time zone {zone}')
        except ValueError as error:
            self._tell(cron_job, "Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}')
        return None

    async def _forget_old(self, cron_job: Obj, jobs: Iterable[Obj]) -> set[str]:
        gone: set[str] = set()
        for job in plans.forgettable(cron_job, jobs):
            await self._delete(cron_job, job)
            gone.add(uid(job))
        return gone

    async def _known(self, cron_job: Obj, jobs: list[Obj]) -> Obj:
        """The status, brought up to date with the Jobs that there are."""
        status = dict(cron_job.get("status") or {})
        active = list(status.get("active") or ())
        for job in jobs:
            listed, ending = any(ref.get("uid") == uid(job) for ref in active), plans.ending(job)
            if not listed and not ending:
                await self._tell_unexpected(cron_job, job)
            elif listed and ending:
                active = [ref for ref in active if ref.get("uid") != uid(job)]
                message = f"Saw completed job: {job['metadata']['name']}, condition: {ending}"
                self._tell(cron_job, "Normal", "SawCompletedJob", message)
            if ending == "Complete":
                end = (job.get("status") or {}).get("completionTime")
                status["lastSuccessfulTime"] = max(filter(None, (status.get("lastSuccessfulTime"), end)), default=None)
        present = {uid(j) for j in jobs}
        for ref in [r for r in active if r.get("uid") not in present]:
            if not await self._exists(cron_job, ref):
                active.remove(ref)
                self._tell(cron_job, "Normal", "MissingJob", f"Active job went missing: {ref.get('name', '')}")
        return {**{k: v for k, v in status.items() if k != "active" and v}, **({"active": active} if active else {})}

    async def _tell_unexpected(self, cron_job: Obj, job: Obj) -> None:
        meta = cron_job["metadata"]
        live = await self.api.get(CRON_JOBS, meta["namespace"], meta["name"])
        if not any(ref.get("uid") == uid(job) for ref in (live.get("status") or {}).get("active") or ()):
            message = f"Saw a job that the controller did not create or forgot: {job['metadata']['name']}"
            self._tell(cron_job, "Warning", "UnexpectedJob", message)

    async def _exists(self, cron_job: Obj, ref: Obj) -> bool:
        """Whether the job that a status names, as anybody may have written it, is there."""
        try:
            return uid(await self.api.get(JOBS, cron_job["metadata"]["namespace"], ref.get("name", ""))) == ref.get("uid")
        except StatusError as error:
            if is_not_found(error):
                return False
            raise

    async def _start(self, cron_job: Obj, schedule: Schedule) -> None:
        """Start the Job that is due, if one is and may be."""
        now = self.clock.now()
        try:
            due = plans.due(cron_job, schedule, now)
        except ValueError as error:
            text = _when(cron_job)[0]
            self._tell(cron_job, "Warning", "InvalidSchedule", f"invalid schedule: {text} : {error}")
            return
        if due.many:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._tell(cron_job, "Warning", "TooManyMissedTimes", message)
        if due.moment is None:
            return
        if plans.is_too_late(cron_job, due.moment, now):
            told = dt.datetime.fromtimestamp(due.moment, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
            self._tell(cron_job, "Warning", "MissSchedule", f"Missed scheduled time to start a job: {told}")
            return
        status = dict(cron_job.get("status") or {})
        active = list(status.get("active") or ())
        name, policy = plans.job_name(cron_job, due.moment), cron_job["spec"].get("concurrencyPolicy", "Allow")
        if any(ref.get("name") == name for ref in active) or status.get("lastScheduleTime") == rfc3339(due.moment):
            return
        if policy == "Forbid" and active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._tell(cron_job, "Normal", "JobAlreadyActive", message)
            return
        if policy == "Replace":
            for ref in active:
                await self._replace(cron_job, ref)
            active = []
        made = await self._create(cron_job, due.moment)
        if made is not None:
            status |= {"active": [*active, plans.reference(made)], "lastScheduleTime": rfc3339(due.moment)}
            await self._write(cron_job, status)

    async def _create(self, cron_job: Obj, moment: float) -> Obj | None:
        """The Job of this time; None if it cannot be had."""
        body = plans.new_job(cron_job, moment)
        try:
            made = await self.api.create(JOBS, body)
        except StatusError as error:
            if namespace_is_terminating(error):
                return None
            if error.reason == "AlreadyExists":
                found = await self.api.get(JOBS, body["metadata"]["namespace"], body["metadata"]["name"])
                return found if controller_uid(found) == uid(cron_job) and not plans.ending(found) else None
            self._tell(cron_job, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        self.skew.observe(self.clock.now() - moment)
        self._tell(cron_job, "Normal", "SuccessfulCreate", f"Created job {made['metadata']['name']}")
        return made

    async def _replace(self, cron_job: Obj, ref: Obj) -> None:
        try:
            job = await self.api.get(JOBS, cron_job["metadata"]["namespace"], ref["name"])
        except StatusError as error:
            if is_not_found(error):
                return
            raise
        await self._delete(cron_job, job)

    async def _delete(self, cron_job: Obj, job: Obj) -> None:
        meta = job["metadata"]
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid(job)}}
        try:
            await self.api.delete(JOBS, meta["namespace"], meta["name"], options)
        except StatusError as error:
            if is_not_found(error):
                return
            self._tell(cron_job, "Warning", "FailedDelete", f"Deleted job: {error}")
            raise
        self._tell(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {meta['name']}")

    async def _write(self, cron_job: Obj, status: Obj) -> Obj:
        if status == (cron_job.get("status") or {}):
            return cron_job
        return await self.api.update(CRON_JOBS, {**cron_job, "status": status}, "status")

    def _tell(self, cron_job: Obj, type: str, reason: str, message: str) -> None:
        self.context.event(cron_job, CRON_JOBS, type, reason, message)


def _when(cron_job: Obj) -> tuple[str, str | None]:
    return cron_job["spec"]["schedule"], cron_job["spec"].get("timeZone")
