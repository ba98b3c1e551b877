"""What a PodDisruptionBudget allows: pure functions over the budget, its pods and the sizes of their controllers.

Reference: PodDisruptionBudget (policy/v1), "Specifying a Disruption Budget for your Application". A budget counts what ought to run
(the sizes of the pods' controllers, not the pods there are), so that pods that are missing already count against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pilothouse.api import intorstring
from pilothouse.client.reconcile.objects import Obj, condition, is_deleting, without_condition
from pilothouse.clock import parse_rfc3339, rfc3339
from pilothouse.controllers import pods as pod_facts

#: Seconds in which an evicted pod is expected to be deleted, and a mark of disruption to be followed by a deletion.
PATIENCE = 120.0
CONDITION = "DisruptionAllowed"


@dataclass(frozen=True, slots=True)
class Expected:
    """How many pods there ought to be, and how many of them have to be healthy."""

    pods: int
    healthy: int


def needs_scale(budget: Obj) -> bool:
    """Whether the budget is measured by the sizes of controllers; a plain number of pods needs none."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def expected(budget: Obj, matching: int, scale: int) -> Expected:
    """`matching`: how many pods the selector matches; `scale`: the sum of their controllers' sizes."""
    spec = budget["spec"]
    if spec.get("maxUnavailable") is not None:
        return Expected(scale, max(0, scale - intorstring.scaled(spec["maxUnavailable"], scale, round_up=True)))
    least = spec.get("minAvailable")
    if isinstance(least, int):
        return Expected(matching, least)
    return Expected(scale, intorstring.scaled(least, scale, round_up=True)) if least is not None else Expected(0, 0)


@dataclass(frozen=True, slots=True)
class Disrupted:
    """Evicted pods that are still expected to go (name to time), the next moment at which one is overdue, and those that are."""

    pods: Mapping[str, str] = field(default_factory=dict)
    recheck: float | None = None
    overdue: tuple[Obj, ...] = ()


def disrupted(budget: Obj, matching: Iterable[Obj], now: float) -> Disrupted:
    known = (budget.get("status") or {}).get("disruptedPods") or {}
    kept: dict[str, str] = {}
    moments: list[float] = []
    overdue: list[Obj] = []
    for pod in matching if known else ():
        since = known.get(pod["metadata"]["name"])
        if since is None or is_deleting(pod):
            continue
        due = parse_rfc3339(since) + PATIENCE
        if due < now:
            overdue.append(pod)
        else:
            kept[pod["metadata"]["name"]] = since
            moments.append(due)
    return Disrupted(kept, min(moments, default=None), tuple(overdue))


def healthy(matching: Iterable[Obj], leaving: Mapping[str, str]) -> int:
    """The ready pods that are neither deleted nor about to be."""
    return sum(not is_deleting(p) and p["metadata"]["name"] not in leaving and pod_facts.is_ready(p) for p in matching)


def status(budget: Obj, wanted: Expected, current: int, leaving: Mapping[str, str], now: float) -> Obj:
    """The status to be."""
    allowed = max(0, current - wanted.healthy) if wanted.pods > 0 else 0
    generation = budget["metadata"].get("generation", 0)
    reason = "SufficientPods" if allowed else "InsufficientPods"
    return {
        "observedGeneration": generation,
        **({"disruptedPods": dict(leaving)} if leaving else {}),
        "disruptionsAllowed": allowed,
        "currentHealthy": current,
        "desiredHealthy": wanted.healthy,
        "expectedPods": wanted.pods,
        "conditions": _conditions(budget, bool(allowed), reason, "", generation, now),
    }


def failed(budget: Obj, why: str, now: float) -> Obj:
    """The status of a budget that could not be counted: nothing may be disrupted."""
    before = budget.get("status") or {}
    numbers = {k: before.get(k, 0) for k in ("currentHealthy", "desiredHealthy", "expectedPods")}
    generation = before.get("observedGeneration", 0)
    conditions = _conditions(budget, False, "SyncFailed", why, generation, now)
    return {**before, **numbers, "disruptionsAllowed": 0, "conditions": conditions}


def _conditions(budget: Obj, allowed: bool, reason: str, message: str, generation: int, now: float) -> list[Obj]:
    known = condition(budget, CONDITION)
    value = "True" if allowed else "False"
    moved = known is None or known["status"] != value
    told: Obj = {"type": CONDITION, "status": value, "reason": reason, "message": message}
    told["lastTransitionTime"] = rfc3339(now) if known is None or moved else known["lastTransitionTime"]
    if generation:
        told["observedGeneration"] = generation
    if known == told:
        return list((budget.get("status") or {})["conditions"])
    return [*without_condition((budget.get("status") or {}).get("conditions") or (), CONDITION), told]


def stale_at(pod: Obj) -> float | None:
    """When a pod's DisruptionTarget, set for a deletion that has not come, stops being believed; None if it has none of that kind."""
    known = condition(pod, "DisruptionTarget")
    if known is None or known["status"] != "True" or is_deleting(pod) or pod_facts.is_finished(pod):
        return None
    if known.get("reason") == "TerminationByKubelet":
        return None  # a node may take as long as it likes between the mark and the end
    return parse_rfc3339(known["lastTransitionTime"]) + PATIENCE if known.get("lastTransitionTime") else 0.0
