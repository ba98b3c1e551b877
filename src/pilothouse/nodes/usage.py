"""What simulated pods use: a function of time, written in an annotation.

`pilothouse.dev/cpu-usage` (cores) and `pilothouse.dev/memory-usage` (bytes) say it for a pod, the same with `.<container>` for one of its
containers. A value is a quantity, or one of

    sin(low, high, period)          between two amounts and back, once in each period (`sin(100m, 900m, 10m)`)
    ramp(from, to, duration)        from the pod's start on; then it stays
    steps(a, 30s, b, 5m, c)         an amount until a time after the pod's start, then the next; the last stays

With `shared` before it, the amount is that of all running pods of the same owner together: more pods share one load, which is what
autoscalers need to be tried against. Without an annotation a tenth of what is requested, and a little at least, is used. What requests to the
pod cost (`behaviour.py`) comes on top.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api import quantity
from pilothouse.clock import parse_rfc3339

Obj = dict[str, Any]
Requests = Mapping[str, Mapping[str, int]]

ANNOTATION = {"cpu": "pilothouse.dev/cpu-usage", "memory": "pilothouse.dev/memory-usage"}
#: What is used where nothing is said (in thousandths): by a container at least, and by a node itself.
LEAST = {"cpu": 1, "memory": 10 * 2**20 * 1000}
OF_NODE = {"cpu": 50, "memory": 200 * 2**20 * 1000}
_FUNCTION = re.compile(r"(sin|ramp|steps)\((.*)\)")
_DURATION = re.compile(r"([0-9.]+)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Load:
    """An amount in thousandths, as a function of the seconds since the pod's start and of the seconds since the epoch."""

    amount: Callable[[float, float], float]
    shared: bool = False


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Load | None:
    """The load that an annotation means; None if it means nothing."""
    shared = text.startswith("shared ")
    text = text.removeprefix("shared ").strip()
    try:
        found = _FUNCTION.fullmatch(text)
        if found is None:
            constant = quantity.milli_value(text)
            return Load(lambda age, now: constant, shared)
        arguments = [a.strip() for a in found[2].split(",")]
        return Load(_FUNCTIONS[found[1]](arguments), shared)
    except (ValueError, IndexError):
        return None


def duration(text: str) -> float:
    """`1m30s` in seconds. ValueError if it is none."""
    parts = _DURATION.findall(text)
    if not parts or "".join(a + u for a, u in parts) != text:
        raise ValueError(text)
    return sum(float(a) * _SECONDS[u] for a, u in parts)


def _sin(arguments: list[str]) -> Callable[[float, float], float]:
    low, high, period = quantity.milli_value(arguments[0]), quantity.milli_value(arguments[1]), duration(arguments[2])
    return lambda age, now: low + (high - low) * (1 - math.cos(2 * math.pi * now / period)) / 2


def _ramp(arguments: list[str]) -> Callable[[float, float], float]:
    first, last, seconds = quantity.milli_value(arguments[0]), quantity.milli_value(arguments[1]), duration(arguments[2])
    return lambda age, now: first + (last - first) * min(1.0, max(0.0, age / seconds))


def _steps(arguments: list[str]) -> Callable[[float, float], float]:
    amounts = [quantity.milli_value(a) for a in arguments[::2]]
    ends = [duration(a) for a in arguments[1::2]]
    if len(amounts) != len(ends) + 1:
        raise ValueError(arguments)
    return lambda age, now: next((a for a, end in zip(amounts, ends, strict=False) if age < end), amounts[-1])


_FUNCTIONS = {"sin": _sin, "ramp": _ramp, "steps": _steps}


def is_running(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and pod["metadata"].get("deletionTimestamp") is None


def owner(pod: Obj) -> str:
    """Whose pods share a load: those of the controller, else the pod alone."""
    refs = pod["metadata"].get("ownerReferences") or ()
    return next((r["uid"] for r in refs if r.get("controller")), pod["metadata"]["uid"])


def of_pod(pod: Obj, siblings: int, now: float) -> dict[str, dict[str, int]]:
    """By container: thousandths of cpu and memory. `siblings`: how many running pods its owner has, itself included."""
    start = (pod.get("status") or {}).get("startTime")
    age = now - parse_rfc3339(start) if start else 0.0
    containers = pod["spec"]["containers"]
    notes = pod["metadata"].get("annotations") or {}
    out: dict[str, dict[str, int]] = {c["name"]: {} for c in containers}
    for resource, annotation in ANNOTATION.items():
        whole = parse(notes[annotation]) if annotation in notes else None
        for container in containers:
            name = container["name"]
            own = parse(notes[f"{annotation}.{name}"]) if f"{annotation}.{name}" in notes else None
            load, parts = (own, 1) if own is not None else (whole, len(containers))
            if load is None:
                asked = ((container.get("resources") or {}).get("requests") or {}).get(resource)
                used: float = max(LEAST[resource], quantity.milli_value(asked) / 10 if asked else 0)
            else:
                used = load.amount(age, now) / parts / (max(1, siblings) if load.shared else 1)
            out[name][resource] = round(max(0.0, used))
    return out


def report(names: Iterable[str], pods: Iterable[Obj], now: float, requests: Requests | None = None) -> Obj:
    """What these nodes and their pods use, as the hub takes it: quantities by node, and by pod and container.

    `requests` is what answering costs beside that: thousandths of a core, by pod uid and container.
    """
    running = [p for p in pods if is_running(p)]
    siblings = Counter(map(owner, running))
    nodes = {name: dict(OF_NODE) for name in names}
    told = []
    for pod in running:
        used = of_pod(pod, siblings[owner(pod)], now)
        for container, amount in ((requests or {}).get(pod["metadata"]["uid"]) or {}).items():
            used[container]["cpu"] += amount
        of_node = nodes.setdefault(pod["spec"]["nodeName"], dict(OF_NODE))
        for amounts in used.values():
            for resource, amount in amounts.items():
                of_node[resource] += amount
        meta = pod["metadata"]
        told.append([meta["namespace"], meta["name"], {c: _texts(a) for c, a in used.items()}])
    return {"nodes": {name: _texts(amounts) for name, amounts in nodes.items()}, "pods": told}


def _texts(milli: dict[str, int]) -> dict[str, str]:
    return {"cpu": f"{milli['cpu']}m" if milli["cpu"] else "0", "memory": f"{milli['memory'] // 1000 // 1024}Ki"}
