"""What a Job needs now: pods to create and to delete, and whether it has come to its end.

Pure functions over the Job and its pods. `see` counts; `verdict` says whether the Job is to end; `plan` says what to create and delete
while it is not. References: Job (batch/v1), KEP-2307 (tracking by finalizer), KEP-3850 (back-off per index), KEP-3939 (replacement
policy).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pilothouse.client.reconcile.objects import Obj, condition, created_at, is_deleting
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers import job_indexes as indexes
from pilothouse.controllers import job_policy as policy
from pilothouse.controllers import pods as pod_facts

FINALIZER = "batch.kubernetes.io/job-tracking"
#: Never more creations or deletions than this in one look at a Job.
BURST = 500
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Failures since the last success, and when the last one was."""

    failures: int = 0
    last: float = 0.0

    def after(self, succeeded: Iterable[Obj], failed: Iterable[Obj]) -> Backoff:
        """With these newly finished pods."""
        success = max(map(finished_at, succeeded), default=None)
        moments = sorted(map(finished_at, failed))
        if success is None:
            return Backoff(self.failures + len(moments), moments[-1] if moments else self.last)
        later = [m for m in moments if m > success]
        return Backoff(len(later), later[-1] if later else 0.0)

    def left(self, now: float) -> float:
        """Seconds until the next pod may be created."""
        if not self.failures:
            return 0.0
        return max(0.0, self.last + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self.failures - 1)) - now)


def finished_at(pod: Obj) -> float:
    """When a pod ended, as well as one can tell."""
    status = pod.get("status") or {}
    ends = [((c.get("state") or {}).get("terminated") or {}).get("finishedAt") for c in status.get("containerStatuses") or ()]
    if ends and all(ends):
        return max(parse_rfc3339(e) for e in ends if e)
    ready = condition(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return parse_rfc3339(ready["lastTransitionTime"])
    if deleted := pod["metadata"].get("deletionTimestamp"):
        return parse_rfc3339(deleted) - (pod["metadata"].get("deletionGracePeriodSeconds") or 0)
    return created_at(pod)


def is_indexed(job: Obj) -> bool:
    return job["spec"].get("completionMode") == "Indexed"


def is_suspended(job: Obj) -> bool:
    return bool(job["spec"].get("suspend"))


def per_index(job: Obj) -> bool:
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def replaces_only_failed(job: Obj) -> bool:
    return job["spec"].get("podReplacementPolicy") == "Failed"


def is_tracked(pod: Obj) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_failed(pod: Obj, job: Obj) -> bool:
    """A deleted pod counts as failed, for it may never get to say how it ended; unless only failed pods are replaced."""
    if pod_facts.phase(pod) == "Failed":
        return True
    return not replaces_only_failed(job) and is_deleting(pod) and pod_facts.phase(pod) != "Succeeded"


@dataclass(slots=True)
class Seen:
    """A Job's pods, sorted. `tracked` are those whose end is not settled yet: they bear the finalizer."""

    job: Obj
    active: list[Obj]
    terminating: list[Obj]
    tracked: list[Obj]
    new_succeeded: list[Obj]
    new_failed: list[Obj]
    succeeded: int
    failed: int
    completed: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    #: By index, the failed pod that keeps its finalizer until its successor exists, because it bears the count of failures.
    delayed: dict[int, Obj] = field(default_factory=dict)

    @property
    def ready(self) -> int:
        return sum(map(pod_facts.is_ready, self.active))


def see(job: Obj, pods: Sequence[Obj], released: Collection[str]) -> Seen:
    """`released`: uids of pods that have lost their finalizer though the cache still shows it."""
    status = job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods") or {}
    good, bad = uncounted.get("succeeded") or (), uncounted.get("failed") or ()
    tracked = [p for p in pods if is_tracked(p) and p["metadata"]["uid"] not in released]
    fresh = [p for p in tracked if p["metadata"]["uid"] not in good and p["metadata"]["uid"] not in bad]
    new_succeeded = [p for p in fresh if pod_facts.phase(p) == "Succeeded"]
    new_failed = [p for p in fresh if is_failed(p, job)]
    counted = [p for p in new_failed if policy.verdict(job, p).counts]
    out = Seen(
        job,
        active=[p for p in pods if pod_facts.is_active(p)],
        terminating=[p for p in pods if pod_facts.is_terminating(p)],
        tracked=tracked,
        new_succeeded=new_succeeded,
        new_failed=new_failed,
        succeeded=(status.get("succeeded") or 0) + len(new_succeeded) + len(good),
        failed=(status.get("failed") or 0) + len(counted) + len(bad),
    )
    if is_indexed(job):
        _see_indexes(out)
    return out


def _see_indexes(seen: Seen) -> None:
    job, status = seen.job, seen.job.get("status") or {}
    completions = job["spec"].get("completions") or 0
    seen.completed = indexes.parse(status.get("completedIndexes"), completions)
    for pod in seen.tracked:
        number = indexes.index_of(pod)
        if number is not None and number < completions and pod_facts.phase(pod) == "Succeeded":
            seen.completed.add(number)
    seen.succeeded = len(seen.completed)
    if not per_index(job):
        return
    seen.failed_indexes = indexes.parse(status.get("failedIndexes"), completions)
    failed = [(n, p) for p in seen.tracked if (n := indexes.index_of(p)) is not None and n < completions and is_failed(p, job)]
    seen.failed_indexes |= {n for n, p in failed if n not in seen.completed and _index_is_lost(job, p)}
    busy = {indexes.index_of(p) for p in seen.active}
    for number, pod in failed:
        if number in seen.completed or number in seen.failed_indexes or number in busy:
            continue
        known = seen.delayed.get(number)
        if known is None or _rank(known) <= _rank(pod):
            seen.delayed[number] = pod


def _rank(pod: Obj) -> tuple[int, float]:
    return indexes.failures(pod) + indexes.ignored(pod), finished_at(pod)


def _index_is_lost(job: Obj, pod: Obj) -> bool:
    found = policy.verdict(job, pod)
    if found.action == "FailIndex":
        return True
    return found.counts and indexes.failures(pod) >= job["spec"]["backoffLimitPerIndex"]


# The end ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class End:
    """Why a Job is to end: as well (SuccessCriteriaMet, then Complete) or badly (FailureTarget, then Failed)."""

    well: bool
    reason: str
    message: str

    @property
    def first(self) -> str:
        """The condition that says that it is going to end."""
        return "SuccessCriteriaMet" if self.well else "FailureTarget"

    @property
    def last(self) -> str:
        """The condition that says that it has ended."""
        return "Complete" if self.well else "Failed"


def is_over(job: Obj) -> bool:
    return any((c := condition(job, kind)) is not None and c["status"] == "True" for kind in ("Complete", "Failed"))


def _told_already(job: Obj) -> End | None:
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        known = condition(job, kind)
        if known is not None and known["status"] == "True":
            return End(kind == "SuccessCriteriaMet", known.get("reason", ""), known.get("message", ""))
    return None


def verdict(seen: Seen, now: float) -> End | None:
    """Whether the Job has to end, whatever it still wants to do."""
    job, spec = seen.job, seen.job["spec"]
    if known := _told_already(job):
        return known
    if told := policy.success_message(job, seen.completed):
        return End(True, "SuccessPolicy", told)
    if told := policy.fail_job_message(job, (p for p in seen.tracked if is_failed(p, job))):
        return End(False, "PodFailurePolicy", told)
    if seen.failed > spec.get("backoffLimit", 6) or _restarted_too_often(seen):
        return End(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = deadline_left(job, now)
    if left is not None and left <= 0:
        return End(False, "DeadlineExceeded", "Job was active longer than specified deadline")
    if per_index(job):
        most = spec.get("maxFailedIndexes")
        if most is not None and len(seen.failed_indexes) > most:
            told = "Job has exceeded the specified maximal number of failed indexes"
            return End(False, "MaxFailedIndexesExceeded", told)
        if seen.failed_indexes and len(seen.failed_indexes) + len(seen.completed) >= spec["completions"]:
            return End(False, "FailedIndexes", "Job has failed indexes")
    return None


def _restarted_too_often(seen: Seen) -> bool:
    """Containers that are restarted in place count as failures while their pods run."""
    if seen.job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    total = 0
    for pod in seen.active:
        status = pod.get("status") or {}
        for each in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
            total += each.get("restartCount") or 0
    limit = seen.job["spec"].get("backoffLimit", 6)
    return total > 0 if limit == 0 else total >= limit


def deadline_left(job: Obj, now: float) -> float | None:
    """Seconds that the Job may still be active; None for ever."""
    limit, start = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if limit is None or start is None or is_suspended(job):
        return None
    return parse_rfc3339(start) + limit - now


def has_succeeded(seen: Seen, active: int) -> bool:
    """Whether all that was asked for is done. Without a number, one success is enough, once the others have ended too."""
    completions = seen.job["spec"].get("completions")
    done = seen.succeeded > 0 if completions is None else seen.succeeded >= completions
    return done and active == 0


# The work -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewPod:
    """A pod to create: its index (None if the Job has none) and the failed pod that it takes the place of."""

    index: int | None = None
    instead_of: Obj | None = None


@dataclass(slots=True)
class Plan:
    """Pods to create or to delete, never both; `wait`: seconds after which to look again."""

    create: list[NewPod] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    wait: float | None = None


def plan(seen: Seen, backoff: Backoff, now: float) -> Plan:
    """The next changes of a Job that is not to end."""
    job, active = seen.job, len(seen.active)
    if is_suspended(job):
        return Plan(delete=seen.active[:BURST])
    wanted = _wanted(seen)
    if doomed := _surplus(seen, max(0, active - wanted), now):
        return Plan(delete=doomed[:BURST])
    missing = wanted - active - (len(seen.terminating) if replaces_only_failed(job) else 0)
    if missing <= 0:
        return Plan()
    wait = 0.0 if per_index(job) else backoff.left(now)
    if wait > 0:
        return Plan(wait=wait)
    if not is_indexed(job):
        return Plan(create=[NewPod()] * min(missing, BURST))
    return _of_indexes(seen, min(missing, BURST), now)


def _wanted(seen: Seen) -> int:
    spec = seen.job["spec"]
    parallelism = spec.get("parallelism", 1)
    if spec.get("completions") is None:
        return len(seen.active) if seen.succeeded > 0 else parallelism
    return max(0, min(parallelism, spec["completions"] - seen.succeeded - len(seen.failed_indexes)))


def _surplus(seen: Seen, count: int, now: float) -> list[Obj]:
    """Active pods to delete: those of an index that has another or does not exist, then as many as are too many."""
    doomed: list[Obj] = []
    if is_indexed(seen.job):
        known: set[int] = set()
        for pod in sorted(seen.active, key=lambda p: (not p["spec"].get("nodeName"), created_at(p))):
            number = indexes.index_of(pod)
            if number is None or number in known or number >= seen.job["spec"]["completions"]:
                doomed.append(pod)
            else:
                known.add(number)
    names = {p["metadata"]["uid"] for p in doomed}
    rest = [p for p in seen.active if p["metadata"]["uid"] not in names]
    more = max(0, count - len(doomed))
    return doomed + (pod_facts.victims(rest, more, {}, now) if more else [])


def _of_indexes(seen: Seen, count: int, now: float) -> Plan:
    """The lowest indexes without a pod; with back-off per index those whose pause is over."""
    job, out = seen.job, Plan()
    busy = {indexes.index_of(p) for p in seen.active} | seen.completed | seen.failed_indexes
    if replaces_only_failed(job):
        busy |= {indexes.index_of(p) for p in seen.terminating}
    for number in range(job["spec"]["completions"]):
        if len(out.create) >= count:
            break
        if number in busy:
            continue
        last = seen.delayed.get(number)
        wait = Backoff(_rank(last)[0] + 1, finished_at(last)).left(now) if last is not None else 0.0
        if wait > 0:
            out.wait = wait if out.wait is None else min(wait, out.wait)
        else:
            out.create.append(NewPod(number, last))
    return out
