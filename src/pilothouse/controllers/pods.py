"""What controllers need to know about pods: active, ready, available, and which one to delete first.

Ranking follows the ReplicaSet reference page ("Scaling a ReplicaSet") and KEP-2255 (deletion cost) and KEP-2185 (ages compared
on a logarithmic scale, so that scaling down does not always hit the newest pods of one node).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, annotations_of, condition, created_at, is_deleting
from pilothouse.clock import parse_rfc3339

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_FINISHED = ("Succeeded", "Failed")
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: Obj) -> str:
    return (pod.get("status") or {}).get("phase") or ""


def is_finished(pod: Obj) -> bool:
    """Whether the pod has ended, well or badly."""
    return phase(pod) in _FINISHED


def is_active(pod: Obj) -> bool:
    """Whether the pod counts as a replica: neither ended nor on its way out."""
    return not is_deleting(pod) and not is_finished(pod)


def is_terminating(pod: Obj) -> bool:
    return is_deleting(pod) and not is_finished(pod)


def is_ready(pod: Obj) -> bool:
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each["type"] == "Ready":
            return each["status"] == "True"
    return False


def ready_since(pod: Obj) -> float:
    """When the pod became ready (seconds since the epoch); 0 where it is not ready or nobody knows."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return 0.0
    stamp = ready.get("lastTransitionTime")
    return parse_rfc3339(stamp) if stamp else 0.0


def available_since(pod: Obj, min_ready_seconds: int) -> float:
    """The moment from which a ready pod counts as available: 0 for at once, infinity where nobody knows since when it is ready."""
    if min_ready_seconds <= 0:
        return 0.0
    since = ready_since(pod)
    return since + min_ready_seconds if since else math.inf


def deletion_cost(pod: Obj) -> int:
    """The cost that the user annotated, 0 where there is none or it is no number."""
    text = annotations_of(pod).get(DELETION_COST)
    try:
        return int(text) if text else 0
    except ValueError:
        return 0


def restarts(pod: Obj) -> tuple[int, int]:
    """The most restarts of one container, and of one sidecar."""
    status = pod.get("status") or {}
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    regular = max((c.get("restartCount") or 0 for c in status.get("containerStatuses") or ()), default=0)
    beside = max(
        (c.get("restartCount") or 0 for c in status.get("initContainerStatuses") or () if c["name"] in sidecars), default=0
    )
    return regular, beside


def crowding(pods: Iterable[Obj]) -> dict[str, int]:
    """How many of these pods each node has: the crowding that the ranking of victims looks at."""
    out: dict[str, int] = {}
    for pod in pods:
        node = pod["spec"].get("nodeName") or ""
        out[node] = out.get(node, 0) + 1
    return out


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A pod with everything that its rank depends on; the lesser goes first."""

    pod: Obj
    first: tuple[bool, int, bool, int, int]
    ready: float
    restarts: tuple[int, int]
    created: float


def victims(pods: Sequence[Obj], count: int, crowds: Mapping[str, int], now: float) -> list[Obj]:
    """The `count` pods to delete first. `crowds` says how many related pods each node has."""
    if count >= len(pods):
        return list(pods)
    candidates = [_candidate(pod, crowds) for pod in pods]
    candidates.sort(key=functools.cmp_to_key(lambda a, b: _compare(a, b, now)))
    return [c.pod for c in candidates[:count]]


def _candidate(pod: Obj, crowds: Mapping[str, int]) -> _Candidate:
    node = pod["spec"].get("nodeName") or ""
    ready = is_ready(pod)
    first = (bool(node), _PHASES.get(phase(pod), 0), ready, deletion_cost(pod), -crowds.get(node, 0))
    return _Candidate(pod, first, ready_since(pod), restarts(pod), created_at(pod))


def _compare(a: _Candidate, b: _Candidate, now: float) -> int:
    if a.first != b.first:
        return -1 if a.first < b.first else 1
    if a.first[2] and a.ready != b.ready:
        return _compare_ages(a, b, a.ready, b.ready, now)
    if a.restarts != b.restarts:
        return -1 if a.restarts > b.restarts else 1
    if a.created != b.created:
        return _compare_ages(a, b, a.created, b.created, now)
    return 0


def _compare_ages(a: _Candidate, b: _Candidate, since_a: float, since_b: float, now: float) -> int:
    """The younger first, on a logarithmic scale; within one step of the scale the order is arbitrary but fixed (the uid)."""
    if not since_a or not since_b:
        return -1 if not since_a else 1
    step_a, step_b = _step(now - since_a), _step(now - since_b)
    if step_a != step_b:
        return -1 if step_a < step_b else 1
    return -1 if a.pod["metadata"]["uid"] < b.pod["metadata"]["uid"] else 1


def _step(age: float) -> int:
    """The power of two just below the age, in nanoseconds as the scale is defined; -1 for the future."""
    return int(math.log2(age * 1e9)) if age > 0 else -1
