"""What the job-controller measures, under Kubernetes' names (reference: Kubernetes Metrics, job_controller_*)."""

from __future__ import annotations

from pilothouse.client.metrics import Counter, Histogram, exponential
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers.job_plan import End, Plan, Seen, is_indexed, per_index, replaces_only_failed
from pilothouse.controllers.job_policy import verdict

_JOB = "job_controller_"


def mode(job: Obj) -> str:
    return "Indexed" if is_indexed(job) else "NonIndexed"


class JobMetrics:
    def __init__(self) -> None:
        by_action = ("completion_mode", "result", "action")
        self.syncs = Counter(f"{_JOB}job_syncs_total", "Looks at Jobs, by outcome and by what was done.", by_action)
        self.sync_seconds = Histogram(
            f"{_JOB}job_sync_duration_seconds", "How long looks at Jobs took.", by_action, exponential(0.001, 2, 15)
        )
        self.finished = Counter(
            f"{_JOB}jobs_finished_total", "Jobs that have ended, and why.", ("completion_mode", "result", "reason")
        )
        self.pods_finished = Counter(
            f"{_JOB}job_pods_finished_total", "Pods that were counted as succeeded or failed.", ("completion_mode", "result")
        )
        self.pods_created = Counter(f"{_JOB}job_pods_creation_total", "Attempts to create pods, and why.", ("reason", "status"))
        self.handled = Counter(
            f"{_JOB}pod_failures_handled_by_failure_policy_total", "Failed pods that a rule was met by.", ("action",)
        )
        self.indexes = Counter(
            f"{_JOB}job_finished_indexes_total",
            "Indexes that have ended, by the kind of back-off limit.",
            ("status", "backoffLimit"),
        )

    def all(self) -> tuple[Counter | Histogram, ...]:
        return (self.syncs, self.sync_seconds, self.finished, self.pods_finished, self.pods_created, self.handled, self.indexes)

    def synced(self, job: Obj, action: str, well: bool, seconds: float) -> None:
        labels = mode(job), "success" if well else "error", action
        self.syncs.add(*labels)
        self.sync_seconds.observe(seconds, *labels)

    def ended(self, job: Obj, end: End) -> None:
        self.finished.add(mode(job), "succeeded" if end.well else "failed", end.reason)

    def created(self, seen: Seen, plan: Plan, well: bool) -> None:
        """Pods are new, or take the place of others: of failed ones, or of those on their way out as well."""
        reason = "new"
        if seen.new_failed or seen.failed or seen.terminating:
            reason = "recreate_failed" if replaces_only_failed(seen.job) else "recreate_terminating_or_failed"
        self.pods_created.add(reason, "succeeded" if well else "failed", by=len(plan.create))

    def counted(self, before: Obj, job: Obj) -> None:
        """The counters of a status have grown."""
        old, new = before.get("status") or {}, job.get("status") or {}
        for member in ("succeeded", "failed"):
            more = (new.get(member) or 0) - (old.get(member) or 0)
            if more > 0:
                self.pods_finished.add(mode(job), member, by=more)
                if member == "succeeded" and is_indexed(job):
                    self.indexes.add("succeeded", "perIndex" if per_index(job) else "global", by=more)

    def judged(self, job: Obj, failed: list[Obj]) -> None:
        """Newly failed pods, if the Job has a failure policy."""
        for pod in failed if job["spec"].get("podFailurePolicy") else ():
            if action := verdict(job, pod).action:
                self.handled.add(action)
