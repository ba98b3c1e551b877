"""How many replicas a metric asks for: pure functions over pods and samples.

Amounts are thousandths (milli). Pods that are not ready or tell nothing are counted such that they never make the change larger.
Reference: HorizontalPodAutoscaler, "Algorithm details"; KEP-4951 (tolerance).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api import quantity
from pilothouse.client.reconcile.objects import Obj, condition, is_deleting
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers import pods as pod_facts

#: Seconds after its start in which a pod's use of processor time is that of starting, and in which it may not have been ready yet.
CPU_INITIALIZATION, READINESS_DELAY = 300.0, 30.0


class NoCount(Exception):
    """A metric from which no number of replicas can be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pod used: thousandths, when that was measured (seconds since the epoch), over how many seconds."""

    value: int
    at: float = 0.0
    window: float = 60.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far below and above 1 the ratio of usage to target may be without anything being done."""

    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(slots=True)
class Groups:
    """Pods by what can be said of them."""

    ready: int = 0
    unready: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def group(pods: Sequence[Obj], samples: Mapping[str, Sample], resource: str, now: float) -> Groups:
    out = Groups()
    for pod in pods:
        name = pod["metadata"]["name"]
        if is_deleting(pod) or pod_facts.phase(pod) == "Failed":
            out.ignored.append(name)
        elif pod_facts.phase(pod) == "Pending":
            out.unready.append(name)
        elif name not in samples:
            out.missing.append(name)
        elif resource == "cpu" and _is_starting(pod, samples[name], now):
            out.unready.append(name)
        else:
            out.ready += 1
    return out


def _is_starting(pod: Obj, sample: Sample, now: float) -> bool:
    ready, start = condition(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if ready is None or not start:
        return True
    began, moved = parse_rfc3339(start), parse_rfc3339(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else 0.0
    if now < began + CPU_INITIALIZATION:
        return ready["status"] == "False" or sample.at < moved + sample.window
    return ready["status"] == "False" and began + READINESS_DELAY > moved


def ready_pods(pods: Sequence[Obj]) -> int:
    return sum(pod_facts.phase(p) == "Running" and pod_facts.is_ready(p) for p in pods)


@dataclass(frozen=True, slots=True)
class Count:
    """Replicas wanted; the average in thousandths and, for utilization, in percent of the request."""

    replicas: int
    average: int
    utilization: int | None = None


def by_utilization(
    current: int,
    target: int,
    samples: Mapping[str, Sample],
    pods: Sequence[Obj],
    requests: Mapping[str, int],
    groups: Groups,
    tolerance: Tolerance,
) -> Count:
    """`target` percent of what pods request."""
    usage = _counted(samples, groups)

    def ratio(of: Mapping[str, int]) -> tuple[float, int, int]:
        used = sum(v for n, v in of.items() if n in requests)
        asked = sum(requests[n] for n in of if n in requests)
        if not asked:
            raise NoCount("no metrics returned matched known pods")
        percent = used * 100 // asked
        return percent / target, percent, used // len(of)

    first, percent, average = ratio(usage)
    fallback = {name: requests.get(name, 0) * max(100, target) // 100 for name in groups.missing}
    replicas = _replicas(current, usage, first, groups, tolerance, fallback, lambda of: ratio(of)[0])
    return Count(replicas, average, percent)


def by_average(current: int, target: int, samples: Mapping[str, Sample], groups: Groups, tolerance: Tolerance) -> Count:
    """`target` thousandths for each pod."""
    usage = _counted(samples, groups)

    def ratio(of: Mapping[str, int]) -> float:
        return sum(of.values()) // len(of) / target

    fallback = dict.fromkeys(groups.missing, target)
    replicas = _replicas(current, usage, ratio(usage), groups, tolerance, fallback, ratio)
    return Count(replicas, sum(usage.values()) // len(usage))


def _counted(samples: Mapping[str, Sample], groups: Groups) -> dict[str, int]:
    left_out = {*groups.ignored, *groups.unready}
    usage = {name: s.value for name, s in samples.items() if name not in left_out}
    if not usage:
        raise NoCount("did not receive metrics for targeted pods (pods might be unready)")
    return usage


def _replicas(
    current: int,
    usage: dict[str, int],
    first: float,
    groups: Groups,
    tolerance: Tolerance,
    fallback: Mapping[str, int],
    ratio: Callable[[Mapping[str, int]], float],
) -> int:
    """`fallback`: what pods without a sample are taken to use when there are too many pods."""
    unready = groups.unready if first > 1.0 else []
    if not unready and not groups.missing:
        return current if tolerance.covers(first) else math.ceil(first * groups.ready)
    usage = dict(usage)
    if first != 1.0:
        usage |= fallback if first < 1.0 else dict.fromkeys(groups.missing, 0)
    usage |= dict.fromkeys(unready, 0)
    second = ratio(usage)
    if tolerance.covers(second) or (first < 1.0 < second) or (second < 1.0 < first):
        return current
    wanted = math.ceil(second * len(usage))
    backwards = (second < 1.0 and wanted > current) or (second > 1.0 and wanted < current)
    return current if backwards else wanted


def by_value(current: int, usage: int, target: int, ready: int, tolerance: Tolerance) -> int:
    """One value for all pods against a target for all."""
    ratio = usage / target
    if current == 0:
        return math.ceil(ratio)
    return current if tolerance.covers(ratio) else math.ceil(ratio * ready)


def by_share(current: int, usage: int, target: int, tolerance: Tolerance) -> Count:
    """One value, divided among `current` pods, against a target for each."""
    ratio = usage / (target * current) if current else math.inf
    replicas = current if tolerance.covers(ratio) else -(-usage // target)
    return Count(replicas, -(-usage // current) if current else 0)


def requests_of(pods: Sequence[Obj], resource: str, container: str = "") -> dict[str, int]:
    """What each pod requests, in thousandths. NoCount if one does not say."""
    out: dict[str, int] = {}
    for pod in pods:
        total = 0
        sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
        for each in (*pod["spec"]["containers"], *sidecars):
            if container not in ("", each["name"]):
                continue
            asked = ((each.get("resources") or {}).get("requests") or {}).get(resource)
            if asked is None:
                name = pod["metadata"]["name"]
                raise NoCount(f"missing request for {resource} in container {each['name']} of Pod {name}")
            total += quantity.milli_value(asked)
        out[pod["metadata"]["name"]] = total
    return out
