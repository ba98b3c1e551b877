"""How a Job counts its finished pods without losing or counting one twice (KEP-2307).

Every pod bears a finalizer. A finished pod is first written down in the status as not counted yet, then it loses the finalizer, then it
moves from that list to the counters. Whoever is interrupted in between finds in the status where it was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, find_condition, is_deleting, uid
from pilothouse.clock import rfc3339
from pilothouse.controllers import job_indexes as indexes
from pilothouse.controllers import job_policy as policy
from pilothouse.controllers import pods as pod_facts
from pilothouse.controllers.job_plan import End, Seen, is_failed, is_indexed, per_index

#: Never more pods written down as not counted than this.
MOST_UNCOUNTED = 500


@dataclass(frozen=True, slots=True)
class Account:
    """The status with newly finished pods written down, and the pods that may lose their finalizer then."""

    status: Obj
    release: list[Obj]
    #: More are waiting than fit.
    more: bool = False


def account(seen: Seen, status: Obj, end: End | None) -> Account:
    """Write down every finished pod."""
    job = seen.job
    before = status.get("uncountedTerminatedPods") or {}
    good, bad = list(before.get("succeeded") or ()), list(before.get("failed") or ())
    release: list[Obj] = []
    more = False
    for pod in seen.tracked:
        failed = is_failed(pod, job) or (end is not None and not end.well and pod_facts.phase(pod) != "Succeeded")
        if not _may_go(seen, pod, failed, end):
            continue
        if len(good) + len(bad) >= MOST_UNCOUNTED or len(release) >= MOST_UNCOUNTED:
            more = True
            break
        release.append(pod)
        if pod_facts.phase(pod) == "Succeeded":
            if not is_indexed(job) and uid(pod) not in good:
                good.append(uid(pod))
        elif failed and uid(pod) not in bad and _is_counted(seen, pod):
            bad.append(uid(pod))
    listed: Obj = {**({"succeeded": good} if good else {}), **({"failed": bad} if bad else {})}
    return Account({**status, **_index_texts(seen), "uncountedTerminatedPods": listed}, release, more)


def _may_go(seen: Seen, pod: Obj, failed: bool, end: End | None) -> bool:
    if is_deleting(seen.job) or end is not None or pod_facts.phase(pod) == "Succeeded":
        return True
    return failed and not any(each is pod for each in seen.delayed.values())


def _is_counted(seen: Seen, pod: Obj) -> bool:
    if is_indexed(seen.job):
        number = indexes.index_of(pod)
        if number is None or number >= (seen.job["spec"].get("completions") or 0):
            return False
    return policy.verdict(seen.job, pod).counts


def _index_texts(seen: Seen) -> Obj:
    if not is_indexed(seen.job):
        return {}
    out: Obj = {}
    if seen.completed:
        out |= {"succeeded": len(seen.completed), "completedIndexes": indexes.text(seen.completed)}
    else:
        out |= {"succeeded": 0, "completedIndexes": ""}
    if per_index(seen.job):
        out["failedIndexes"] = indexes.text(seen.failed_indexes)
    return out


def settle(status: Obj, tracked: Collection[str]) -> Obj:
    """Count those written down that bear no finalizer any more; `tracked` are the uids of those that do."""
    listed = status.get("uncountedTerminatedPods") or {}
    out, left = dict(status), {}
    for member in ("succeeded", "failed"):
        waiting = listed.get(member) or []
        still = [u for u in waiting if u in tracked]
        out[member] = (out.get(member) or 0) + len(waiting) - len(still)
        if still:
            left[member] = still
    return {**out, "uncountedTerminatedPods": left}


def told(kind: str, value: bool, reason: str, message: str, now: float) -> Obj:
    stamp = rfc3339(now)
    return {
        "type": kind,
        "status": "True" if value else "False",
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def with_condition(status: Obj, kind: str, value: bool, reason: str, message: str, now: float) -> Obj:
    """The status with a condition; itself if it says so already, or if it is to be denied and was never claimed."""
    conditions = status.get("conditions") or []
    known = find_condition(conditions, kind)
    if known is None and not value:
        return status
    if known is not None and (known["status"] == "True") == value:
        return status
    new = told(kind, value, reason, message, now)
    return {**status, "conditions": [new if c is known else c for c in conditions] if known is not None else [*conditions, new]}


def ended(status: Obj, end: End, now: float) -> Obj:
    """The status of a Job that is over."""
    out = with_condition(status, end.last, True, end.reason, end.message, now)
    return {**out, "completionTime": rfc3339(now)} if end.well else out


def tidy(status: Obj) -> Obj:
    """Without what is nothing: as the server would write it."""
    optional = ("active", "succeeded", "failed", "completedIndexes", "conditions")
    return {k: v for k, v in status.items() if v is not None and (k not in optional or v)}
