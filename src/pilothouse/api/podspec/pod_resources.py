"""What a pod asks for in sum: of its containers together, or of its greediest init container, plus what running it costs.

Init containers run one after the other before the others, so only the largest counts; those that go on running (restartPolicy Always)
count as containers, and also for every init container after them. What the pod itself says for a resource comes before its
containers' sum.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import quantity
from pilothouse.api.errors import Obj

Amounts = dict[str, str]


def add(a: Mapping[str, str], b: Mapping[str, str]) -> Amounts:
    out = dict(a)
    for name, amount in b.items():
        out[name] = quantity.add(out[name], amount) if name in out else quantity.canonical(amount)
    return out


def largest(a: Mapping[str, str], b: Mapping[str, str]) -> Amounts:
    out = dict(a)
    for name, amount in b.items():
        if name not in out or quantity.compare(amount, out[name]) > 0:
            out[name] = quantity.canonical(amount)
    return out


def total(spec: Obj, kind: str, overhead: bool = True) -> Amounts:
    """The sum of a pod's `requests` or `limits`."""
    running: Amounts = {}
    for container in spec.get("containers") or ():
        running = add(running, _of(container, kind))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.get("initContainers") or ():
        amounts = _of(container, kind)
        if container.get("restartPolicy") == "Always":
            running = add(running, amounts)
            sidecars = add(sidecars, amounts)
            starting = largest(starting, sidecars)
        else:
            starting = largest(starting, add(sidecars, amounts))
    out = largest(running, starting)
    out |= {name: quantity.canonical(amount) for name, amount in _of(spec, kind).items()}
    if overhead and spec.get("overhead"):
        extra = spec["overhead"]
        out = add(out, extra if kind == "requests" else {k: v for k, v in extra.items() if k in out})
    return out


def _of(holder: Obj, kind: str) -> Mapping[str, str]:
    found: Mapping[str, str] = (holder.get("resources") or {}).get(kind) or {}
    return found
