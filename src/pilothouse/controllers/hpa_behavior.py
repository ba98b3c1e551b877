"""From a recommendation to a size: stabilisation windows, rates, and the limits of the autoscaler.

Pure functions. References: HorizontalPodAutoscaler, "Configurable scaling behavior", "Stabilization window", KEP-853.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.client.reconcile.objects import Obj

#: Seconds for which a higher recommendation holds where nothing else is said.
DOWN_WINDOW = 300.0
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_UP_LIMIT = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_DOWN_LIMIT = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
_READY = ("ReadyForNewScale", "recommended size matches current size")
_UP_STABLE = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_DOWN_STABLE = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)


@dataclass(slots=True)
class Memory:
    """What is remembered of one autoscaler: recommendations and changes, each with its moment."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    ups: list[tuple[float, int]] = field(default_factory=list)
    downs: list[tuple[float, int]] = field(default_factory=list)

    def forget(self, before: float) -> None:
        for events in (self.recommendations, self.ups, self.downs):
            events[:] = [e for e in events if e[0] >= before]


@dataclass(frozen=True, slots=True)
class Size:
    """The size to take, with reason and message for AbleToScale and ScalingLimited."""

    replicas: int
    able: tuple[str, str]
    limited: tuple[str, str]

    @property
    def is_limited(self) -> bool:
        return self.limited != _WITHIN


def size(spec: Obj, current: int, wanted: int, memory: Memory, now: float, window: float = DOWN_WINDOW) -> Size:
    """The size for a new recommendation, which is remembered. `window`: of shrinking, where the autoscaler does not say."""
    most, least = spec["maxReplicas"], spec.get("minReplicas", 1)
    behavior = spec.get("behavior")
    if behavior is None:
        since = [n for at, n in memory.recommendations if at > now - window]
        stable = max([wanted, *since])
        able = _DOWN_STABLE if stable != wanted else _READY
        replicas, limited = _within(current, stable, least, most)
    else:
        stable, able = _stabilized(behavior, current, wanted, memory, now, window)
        replicas, limited = _at_rate(behavior, current, stable, least, most, memory, now)
    memory.recommendations.append((now, wanted))
    return Size(replicas, able, limited)


def _within(current: int, wanted: int, least: int, most: int) -> tuple[int, tuple[str, str]]:
    """Never more than double (or four), never beyond the limits."""
    fastest = max(2 * current, 4)
    if wanted < least:
        return least, _TOO_FEW
    if wanted > min(most, fastest):
        return min(most, fastest), _UP_LIMIT if most > fastest else _TOO_MANY
    return wanted, _WITHIN


def _window(rules: Obj, usual: float) -> float:
    seconds = rules.get("stabilizationWindowSeconds")
    return usual if seconds is None else seconds


def _stabilized(
    behavior: Obj, current: int, wanted: int, memory: Memory, now: float, window: float
) -> tuple[int, tuple[str, str]]:
    up_since = now - _window(behavior.get("scaleUp") or {}, 0.0)
    down_since = now - _window(behavior.get("scaleDown") or {}, window)
    lowest = min([wanted, *(n for at, n in memory.recommendations if at > up_since)])
    highest = max([wanted, *(n for at, n in memory.recommendations if at > down_since)])
    stable = min(max(current, lowest), highest)
    if stable == wanted:
        return stable, _READY
    return stable, _UP_STABLE if wanted >= current else _DOWN_STABLE


def _at_rate(
    behavior: Obj, current: int, wanted: int, least: int, most: int, memory: Memory, now: float
) -> tuple[int, tuple[str, str]]:
    if wanted > current:
        limit = max(current, _limit(behavior.get("scaleUp") or {}, current, memory, now, up=True))
        if wanted > min(most, limit):
            return min(most, limit), _TOO_MANY if most <= limit else _UP_LIMIT
    elif wanted < current:
        limit = min(current, _limit(behavior.get("scaleDown") or {}, current, memory, now, up=False))
        if wanted < max(least, limit):
            return max(least, limit), _TOO_FEW if least >= limit else _DOWN_LIMIT
    return wanted, _WITHIN


def _limit(rules: Obj, current: int, memory: Memory, now: float, up: bool) -> int:
    """As far as the policies let it go now, counted from the size at the beginning of each one's period."""
    select = rules.get("selectPolicy", "Max")
    if select == "Disabled":
        return current
    proposals = []
    for policy in rules.get("policies") or ():
        since = now - policy["periodSeconds"]
        start = current - _sum(memory.ups, since) + _sum(memory.downs, since)
        amount = policy["value"]
        if policy["type"] == "Pods":
            proposals.append(start + amount if up else start - amount)
        elif up:
            proposals.append(math.ceil(start * (100 + amount) / 100))
        else:
            proposals.append(int(start * (100 - amount) / 100))
    if not proposals:
        return current
    furthest = max if up else min
    return furthest(proposals) if select == "Max" else (min if up else max)(proposals)


def _sum(events: Sequence[tuple[float, int]], since: float) -> int:
    return sum(n for at, n in events if at > since)


def longest_memory(spec: Obj, window: float = DOWN_WINDOW) -> float:
    """Seconds after which nothing has to be remembered."""
    out = window
    for rules in (spec.get("behavior") or {}).values():
        out = max([out, _window(rules, 0.0), *(p["periodSeconds"] for p in rules.get("policies") or ())])
    return out
