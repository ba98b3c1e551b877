"""A Deployment's status and its three conditions, computed from its ReplicaSets.

`Available` says whether enough pods are; `Progressing` tells the story of the rollout and ends in NewReplicaSetAvailable or
ProgressDeadlineExceeded; `ReplicaFailure` repeats what a set could not do. Wordings are those that `kubectl rollout status` and
people's scripts match on. References: Deployment (apps/v1), "Deployment status".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, find_condition, is_deleting, without_empty
from pilothouse.clock import parse_rfc3339, rfc3339
from pilothouse.controllers.deployment_plan import limits, size

_NO_DEADLINE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: all sets (after its changes), the newest, and whether this look created or failed to create it."""

    sets: Sequence[Obj]
    newest: Obj | None
    created: bool = False
    create_error: str = ""


def deadline(deployment: Obj) -> int | None:
    """Seconds without progress after which a rollout counts as stuck; None for no such limit."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds >= _NO_DEADLINE else seconds


def status(deployment: Obj, seen: Seen, now: float) -> Obj:
    """The status to be; equal to the present one if there is nothing to write."""
    before = deployment.get("status") or {}
    after = _numbers(deployment, seen, before)
    conditions = [_availability(deployment, after, now)]
    known = list(before.get("conditions") or [])
    if is_deleting(deployment):
        story = find_condition(known, "Progressing")
    else:
        story = _progress(deployment, seen, before, after, now)
    if story is not None:
        conditions.append(story)
    if failure := _replica_failure(seen):
        conditions.append(failure)
    merged = _merge(known, conditions)
    return {**after, "conditions": merged} if merged else after


def wait_for_deadline(deployment: Obj, status: Obj, now: float) -> float | None:
    """Seconds until the rollout may be found stuck; None if no such look is needed."""
    limit, story = deadline(deployment), find_condition(status.get("conditions"), "Progressing")
    if limit is None or story is None or story["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    if deployment["spec"].get("paused") or is_complete(deployment, status):
        return None
    return max(0.0, parse_rfc3339(story["lastUpdateTime"]) + limit - now) + 1.0


def is_complete(deployment: Obj, status: Obj) -> bool:
    """Whether all wanted pods are new and available, no other is left, and this is about the present spec."""
    wanted = deployment["spec"].get("replicas", 1)
    numbers = [status.get(k) or 0 for k in ("updatedReplicas", "replicas", "availableReplicas")]
    observed = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return observed and all(n == wanted for n in numbers)


def _numbers(deployment: Obj, seen: Seen, before: Obj) -> Obj:
    available = _sum(seen.sets, "availableReplicas")
    wanted = sum(size(s) for s in seen.sets)
    numbers = without_empty(
        {
            "observedGeneration": deployment["metadata"].get("generation", 0),
            "replicas": _sum(seen.sets, "replicas"),
            "updatedReplicas": _sum([seen.newest] if seen.newest else [], "replicas"),
            "readyReplicas": _sum(seen.sets, "readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": max(0, wanted - available),
            "collisionCount": before.get("collisionCount"),
        }
    )
    if all("terminatingReplicas" in (s.get("status") or {}) for s in seen.sets):
        numbers["terminatingReplicas"] = _sum(seen.sets, "terminatingReplicas")
    return numbers


def _sum(sets: Iterable[Obj], field: str) -> int:
    return sum((s.get("status") or {}).get(field) or 0 for s in sets)


def _availability(deployment: Obj, after: Obj, now: float) -> Obj:
    if (after.get("availableReplicas") or 0) >= limits(deployment).least_available:
        return _new("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    message = "Deployment does not have minimum availability."
    return _new("Available", "False", "MinimumReplicasUnavailable", message, now)


def _progress(deployment: Obj, seen: Seen, before: Obj, after: Obj, now: float) -> Obj | None:
    """The next sentence of the rollout's story; None if nothing is to be told (no deadline was set)."""
    limit, told = deadline(deployment), find_condition(before.get("conditions"), "Progressing")
    if limit is None:
        return None
    if deployment["spec"].get("paused"):
        if told and told["reason"] in ("ProgressDeadlineExceeded", "DeploymentPaused"):
            return told
        return _new("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if told and told["reason"] == "DeploymentPaused":
        told = _new("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    if seen.create_error:
        return _new("Progressing", "False", "ReplicaSetCreateError", seen.create_error, now)
    if seen.newest is not None:
        name = seen.newest["metadata"]["name"]
        if seen.created:
            told = _new("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"', now)
        elif told is None:
            told = _new("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name}"', now)
    return _judged(deployment, seen, told, before, after, now)


def _judged(deployment: Obj, seen: Seen, told: Obj | None, before: Obj, after: Obj, now: float) -> Obj | None:
    """Complete, progressing, stuck, or as it was told before."""
    settled = (after.get("replicas") or 0) == (after.get("updatedReplicas") or 0)
    if told and told["reason"] == "NewReplicaSetAvailable" and settled:
        return told
    subject = (
        f'ReplicaSet "{seen.newest["metadata"]["name"]}"' if seen.newest else f'Deployment "{deployment["metadata"]["name"]}"'
    )
    if is_complete(deployment, after):
        return _new("Progressing", "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.", now)
    if _moved(before, after):
        return _new("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
    if told is not None and _is_stuck(deployment, told, now):
        return _new("Progressing", "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.", now)
    return told


def _moved(before: Obj, after: Obj) -> bool:
    """Whether the rollout got further: more new pods, fewer old ones, more ready or available ones."""

    def old(numbers: Obj) -> int:
        return (numbers.get("replicas") or 0) - (numbers.get("updatedReplicas") or 0)

    more = any((after.get(k) or 0) > (before.get(k) or 0) for k in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return more or old(after) < old(before)


def _is_stuck(deployment: Obj, told: Obj, now: float) -> bool:
    if told["reason"] == "NewReplicaSetAvailable":
        return False
    if told["reason"] == "ProgressDeadlineExceeded":
        return True
    limit = deadline(deployment)
    return limit is not None and now > parse_rfc3339(told["lastUpdateTime"]) + limit


def _replica_failure(seen: Seen) -> Obj | None:
    """What a set could not do: the newest's trouble before that of old ones."""
    ordered = ([seen.newest] if seen.newest else []) + [s for s in seen.sets if s is not seen.newest]
    for each in ordered:
        if trouble := find_condition((each.get("status") or {}).get("conditions"), "ReplicaFailure"):
            stamps = {"lastUpdateTime": trouble["lastTransitionTime"], "lastTransitionTime": trouble["lastTransitionTime"]}
            return {**{k: trouble[k] for k in ("type", "status", "reason", "message") if k in trouble}, **stamps}
    return None


def _new(kind: str, status: str, reason: str, message: str, now: float) -> Obj:
    stamp = rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def _merge(known: list[Obj], conditions: list[Obj]) -> list[Obj]:
    """Put each in its place: one that says the same as before stays as it was, and times of transition are kept."""
    out = [c for c in known if c["type"] not in ("Available", "Progressing", "ReplicaFailure")]
    order = [c["type"] for c in known]
    for each in conditions:
        before = find_condition(known, each["type"])
        if before is None:
            out.append(each)
        elif _says_the_same(before, each):
            out.append(before)
        elif before["status"] == each["status"]:
            out.append({**each, "lastTransitionTime": before["lastTransitionTime"]})
        else:
            out.append(each)
    return sorted(out, key=lambda c: order.index(c["type"]) if c["type"] in order else len(order))


def _says_the_same(before: Obj, each: Obj) -> bool:
    """Progress is news each time (its time moves the deadline); other conditions only when they change."""
    if each["type"] == "Progressing" and each["reason"] == "ReplicaSetUpdated":
        return before == each
    return (before["status"], before["reason"]) == (each["status"], each["reason"])
