"""What a ReplicaSet needs: how many pods to make, which ones to delete, and what its status is.

Pure functions over the set and its pods. References: ReplicaSet (apps/v1), KEP-3973 for `terminatingReplicas`. A
ReplicationController follows the same rules, so it uses these functions too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, condition, is_deleting, labels_of, without_condition
from pilothouse.clock import rfc3339
from pilothouse.controllers import pods as pod_facts

#: Never more creations or deletions than this in one look at a set.
BURST = 500


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of a set's status, and the moment (if any) at which `available` will grow by time alone."""

    replicas: int
    fully_labeled: int
    ready: int
    available: int
    terminating: int
    next_available: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Pods to create and pods to delete; at most one of the two."""

    create: int = 0
    delete: tuple[Obj, ...] = ()


def wanted_replicas(owner: Obj) -> int:
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else replicas


def plan(owner: Obj, active: Sequence[Obj], related: Iterable[Obj], now: float) -> Plan:
    """Compare the active pods with the wanted number. `related` are the active pods of all sets of the same controller."""
    if is_deleting(owner):
        return Plan()
    excess = len(active) - wanted_replicas(owner)
    if excess < 0:
        return Plan(create=min(-excess, BURST))
    if excess > 0:
        doomed = pod_facts.victims(active, min(excess, BURST), pod_facts.crowding(related), now)
        return Plan(delete=tuple(doomed))
    return Plan()


def count(owner: Obj, active: Iterable[Obj], terminating: int, now: float) -> Counts:
    """Count the active pods as the status does."""
    template = labels_of(owner["spec"]["template"]) if (owner["spec"].get("template") or {}).get("metadata") else {}
    wait = owner["spec"].get("minReadySeconds") or 0
    total = labeled = ready = available = 0
    upcoming: list[float] = []
    for pod in active:
        total += 1
        labeled += template.items() <= labels_of(pod).items()
        if not pod_facts.is_ready(pod):
            continue
        ready += 1
        since = pod_facts.available_since(pod, wait)
        if since <= now:
            available += 1
        elif since < math.inf:
            upcoming.append(since)
    return Counts(total, labeled, ready, available, terminating, min(upcoming, default=None))


@dataclass(frozen=True, slots=True)
class Failure:
    """A creation or deletion that the server refused: `reason` is FailedCreate or FailedDelete."""

    reason: str
    message: str


def status(owner: Obj, counts: Counts, failure: Failure | None, now: float, terminating: bool = True) -> Obj:
    """The status to be. Members that are zero are left out, but for `replicas` and (if wanted) `terminatingReplicas`."""
    numbers = {
        "fullyLabeledReplicas": counts.fully_labeled,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
    }
    out: Obj = {"replicas": counts.replicas, **{k: v for k, v in numbers.items() if v}}
    if terminating:
        out["terminatingReplicas"] = counts.terminating
    out["observedGeneration"] = owner["metadata"].get("generation", 0)
    if conditions := _conditions(owner, failure, now):
        out["conditions"] = conditions
    return out


def _conditions(owner: Obj, failure: Failure | None, now: float) -> list[Obj]:
    """ReplicaFailure appears with the first refusal and goes with the first look that met none."""
    current = (owner.get("status") or {}).get("conditions") or []
    known = condition(owner, "ReplicaFailure")
    if failure is None:
        return without_condition(current, "ReplicaFailure")
    if known is not None:
        return list(current)
    told = {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": rfc3339(now),
        "reason": failure.reason,
        "message": failure.message,
    }
    return [*current, told]
