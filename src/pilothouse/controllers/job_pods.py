"""What a Job's pods look like. Reference: Job (batch/v1), "Job labels", "Completion mode"."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import JOBS
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers import job_indexes as indexes
from pilothouse.controllers import job_policy as policy
from pilothouse.controllers.job_plan import FINALIZER, NewPod, is_indexed, per_index
from pilothouse.controllers.pod_control import pod_of

_ENV = {
    "name": "JOB_COMPLETION_INDEX",
    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{indexes.INDEX}']"}},
}
_LONGEST_NAME, _SUFFIX = 63, 5


def job_pod(job: Obj, wanted: NewPod) -> Obj:
    pod = pod_of(job, JOBS, job["spec"]["template"])
    meta = pod["metadata"]
    meta["finalizers"] = [*meta.get("finalizers", ()), FINALIZER]
    if not is_indexed(job) or wanted.index is None:
        return pod
    name, number = job["metadata"]["name"], str(wanted.index)
    tail = f"-{number}-"
    meta["generateName"] = name[: _LONGEST_NAME - _SUFFIX - len(tail)] + tail
    meta["labels"] = {**meta.get("labels", {}), indexes.INDEX: number}
    meta["annotations"] = {**meta.get("annotations", {}), indexes.INDEX: number, **_counts(job, wanted)}
    spec = {**pod["spec"], "hostname": f"{name}-{number}"}
    for member in ("containers", "initContainers"):
        if spec.get(member):
            spec[member] = [_with_index(c) for c in spec[member]]
    pod["spec"] = spec
    return pod


def _with_index(container: Obj) -> Obj:
    env = container.get("env") or []
    return container if any(e["name"] == _ENV["name"] for e in env) else {**container, "env": [*env, _ENV]}


def _counts(job: Obj, wanted: NewPod) -> dict[str, str]:
    """How often the index has failed: counted failures, and those that the failure policy ignores."""
    if not per_index(job):
        return {}
    last, failed, ignored = wanted.instead_of, 0, 0
    if last is not None:
        counts = policy.verdict(job, last).counts
        failed, ignored = indexes.failures(last) + counts, indexes.ignored(last) + (not counts)
    return {indexes.FAILURES: str(failed), **({indexes.IGNORED: str(ignored)} if ignored else {})}
