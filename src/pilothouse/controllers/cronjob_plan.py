"""When a CronJob's next Job is due, what that Job is, and which old ones to forget.

Pure functions. References: CronJob (batch/v1), "Schedule", "Concurrency policy", "Jobs history limits".
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilothouse.client.reconcile.kinds import CRON_JOBS, JOBS
from pilothouse.client.reconcile.objects import Obj, condition, controller_reference, created_at, uid
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers.cron_schedule import Schedule

STAMP = "batch.kubernetes.io/cronjob-scheduled-timestamp"
#: More missed times than this are worth a warning.
MANY = 100


@dataclass(frozen=True, slots=True)
class Due:
    """The last time that has come and was not acted on (None: there is none), and whether many have been missed."""

    moment: float | None
    many: bool = False


def due(cron_job: Obj, schedule: Schedule, now: float) -> Due:
    """ValueError if the schedule goes faster than once a second."""
    since = created_at(cron_job)
    if last := (cron_job.get("status") or {}).get("lastScheduleTime"):
        since = parse_rfc3339(last)
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, now - deadline)
    first = schedule.next(since)
    if first is None or now < first:
        return Due(None)
    second = schedule.next(first)
    if second is None or now < second:
        return Due(first)
    if second - first < 1:
        raise ValueError("time difference between two schedules is less than 1 second")
    return Due(schedule.last(since, now), (now - first) // (second - first) + 1 > MANY)


def is_too_late(cron_job: Obj, moment: float, now: float) -> bool:
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    return deadline is not None and moment + deadline < now


def job_name(cron_job: Obj, moment: float) -> str:
    return f"{cron_job['metadata']['name']}-{int(moment) // 60}"


def new_job(cron_job: Obj, moment: float) -> Obj:
    """The Job of a time. Its name is the same however often it is made."""
    template, meta = cron_job["spec"]["jobTemplate"], cron_job["metadata"]
    of = template.get("metadata") or {}
    zone = zoneinfo.ZoneInfo(cron_job["spec"].get("timeZone") or "UTC")
    stamp = dt.datetime.fromtimestamp(moment, zone).isoformat().replace("+00:00", "Z")
    metadata = {
        "name": job_name(cron_job, moment),
        "namespace": meta["namespace"],
        "annotations": {**(of.get("annotations") or {}), STAMP: stamp},
        "ownerReferences": [controller_reference(cron_job, CRON_JOBS.api_version, CRON_JOBS.kind)],
    }
    if of.get("labels"):
        metadata["labels"] = of["labels"]
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": template["spec"]}


def reference(job: Obj) -> Obj:
    """How the status names an active Job."""
    meta = job["metadata"]
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": uid(job),
        "resourceVersion": meta.get("resourceVersion", ""),
    }


def ending(job: Obj) -> str:
    """Complete or Failed; "" while the Job has not ended."""
    for kind in ("Complete", "Failed"):
        known = condition(job, kind)
        if known is not None and known["status"] == "True":
            return kind
    return ""


def forgettable(cron_job: Obj, jobs: Iterable[Obj]) -> list[Obj]:
    """Finished Jobs beyond the limits of history, the oldest of each kind."""
    out: list[Obj] = []
    jobs = list(jobs)
    for kind, member in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        limit = cron_job["spec"].get(member)
        ended = _oldest_first(j for j in jobs if ending(j) == kind)
        if limit is not None:
            out += ended[: max(0, len(ended) - limit)]
    return out


def _oldest_first(jobs: Iterable[Obj]) -> Sequence[Obj]:
    def age(job: Obj) -> tuple[bool, str, str]:
        start = (job.get("status") or {}).get("startTime")
        return start is None, start or "", job["metadata"]["name"]

    return sorted(jobs, key=age)
