"""ttl-after-finished-controller: deletes finished Jobs, with their pods, once their time is over.

Reference: "Automatic Cleanup for Finished Jobs", `spec.ttlSecondsAfterFinished`.
"""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.metrics import Histogram, exponential
from pilothouse.client.reconcile.kinds import JOBS
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, condition, is_deleting, split_key, uid
from pilothouse.clock import parse_rfc3339


def expires_at(job: Obj) -> float | None:
    """When a Job is to be deleted, in seconds since the epoch; None if it has not ended or may stay."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or is_deleting(job):
        return None
    for kind in ("Complete", "Failed"):
        known = condition(job, kind)
        if known is not None and known["status"] == "True" and known.get("lastTransitionTime"):
            return parse_rfc3339(known["lastTransitionTime"]) + ttl
    return None


class TTLAfterFinishedController(Controller):
    name = "ttl-after-finished-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.late = Histogram(
            "ttl_after_finished_controller_job_deletion_duration_seconds",
            "How long after their time Jobs were deleted.",
            (),
            exponential(0.1, 2, 14),
        )
        self.metrics = (self.late,)
        self.jobs = self.cache(JOBS)
        self.jobs.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        due = expires_at(new) if new is not None else None
        if new is not None and due is not None:
            self.enqueue(new, due - self.clock.now())

    async def sync(self, key: str) -> None:
        job = self.jobs.get(*split_key(key))
        due = expires_at(job) if job is not None else None
        if job is None or due is None:
            return
        if due > self.clock.now():
            self.enqueue(job, due - self.clock.now())
            return
        try:
            await self._delete(job)
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _delete(self, job: Obj) -> None:
        """Ask the server once more: the time may have been prolonged at the last moment."""
        meta = job["metadata"]
        live = await self.api.get(JOBS, meta["namespace"], meta["name"])
        due = expires_at(live)
        if uid(live) != uid(job) or due is None or due > self.clock.now():
            return
        preconditions = {"uid": uid(live), "resourceVersion": live["metadata"]["resourceVersion"]}
        options = {"propagationPolicy": "Foreground", "preconditions": preconditions}
        await self.api.delete(JOBS, meta["namespace"], meta["name"], options)
        self.late.observe(self.clock.now() - due)
