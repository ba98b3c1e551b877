"""What `kubectl get pods` says of a pod: how many containers are ready, in a word how it is doing, how often it was restarted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from pilothouse.api import table, times
from pilothouse.api.errors import Obj


class _Metadata(TypedDict, total=False):
    name: str
    creationTimestamp: str
    deletionTimestamp: str


class _Container(TypedDict, total=False):
    name: str
    restartPolicy: str


class _Spec(TypedDict, total=False):
    containers: list[_Container]
    initContainers: list[_Container]
    nodeName: str
    readinessGates: list[Obj]


class _Condition(TypedDict, total=False):
    type: str
    status: str
    reason: str


class _Status(TypedDict, total=False):
    phase: str
    reason: str
    nominatedNodeName: str
    conditions: list[_Condition]
    initContainerStatuses: list[Obj]
    containerStatuses: list[Obj]
    podIPs: list[Obj]


class PodView(TypedDict, total=False):
    """All of a pod that its cells show: most of its bytes need not be decoded for them."""

    metadata: _Metadata
    spec: _Spec
    status: _Status


@dataclass(slots=True)
class _Restarts:
    """How often, and when last."""

    count: int = 0
    last: float = 0.0
    #: Those of sidecars alone.
    sidecars: _Restarts | None = field(default=None)

    def add(self, state: Obj) -> None:
        self.count += state.get("restartCount") or 0
        finished = ((state.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        if finished:
            self.last = max(self.last, times.seconds(finished))

    def text(self, now: float) -> str:
        return f"{self.count} ({table.elapsed(self.last, now)} ago)" if self.count and self.last else str(self.count)


def pod_cells(obj: Obj, now: float) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    spec, status = obj["spec"], obj.get("status") or {}
    initial = spec.get("initContainers")
    sidecars = {c.get("name") for c in initial if c.get("restartPolicy") == "Always"} if initial else set()
    total = len(spec.get("containers") or ()) + len(sidecars)
    reason = status.get("reason") or status.get("phase") or ""
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "SchedulingGated" and condition.get("type") == "PodScheduled":
            reason = "SchedulingGated"
    restarts = _Restarts(sidecars=_Restarts())
    ready, initializing = _initialization(spec, status, sidecars, restarts)
    if not initializing or _condition(status, "Initialized"):
        restarts = restarts.sidecars or restarts
        running, reason = _containers(status, reason, restarts)
        ready += running
    else:
        reason = initializing
    addresses = status.get("podIPs") or ()
    return [
        table.name_of(obj),
        f"{ready}/{total}",
        _deleted(obj, status, reason),
        restarts.text(now),
        table.age(obj, now),
        table.or_word(addresses[0].get("ip") if addresses else ""),
        table.or_word(spec.get("nodeName")),
        table.or_word(status.get("nominatedNodeName")),
        _gates(spec, status),
    ]


def _initialization(spec: Obj, status: Obj, sidecars: set[Any], restarts: _Restarts) -> tuple[int, str]:
    """How many sidecars are ready, and what initialization is waiting for ("": nothing)."""
    ready = 0
    for n, state in enumerate(status.get("initContainerStatuses") or ()):
        restarts.add(state)
        sidecar = state.get("name") in sidecars
        if sidecar and restarts.sidecars:
            restarts.sidecars.add(state)
        current = state.get("state") or {}
        ended, waiting = current.get("terminated"), (current.get("waiting") or {}).get("reason")
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and state.get("started"):
            ready += bool(state.get("ready"))
            continue
        if ended is not None:
            return ready, f"Init:{_ended(ended)}"
        if waiting and waiting != "PodInitializing":
            return ready, f"Init:{waiting}"
        return ready, f"Init:{n}/{len(spec.get('initContainers') or ())}"
    return ready, ""


def _containers(status: Obj, reason: str, restarts: _Restarts) -> tuple[int, str]:
    """How many containers are ready, and the reason of the first that has one."""
    ready = 0
    for state in reversed(status.get("containerStatuses") or []):
        restarts.add(state)
        current = state.get("state") or {}
        waiting = (current.get("waiting") or {}).get("reason")
        if waiting:
            reason = waiting
        elif current.get("terminated") is not None:
            reason = _ended(current["terminated"])
        elif state.get("ready") and current.get("running") is not None:
            ready += 1
    if reason == "Completed" and ready:
        reason = "Running" if _condition(status, "Ready") else "NotReady"
    return ready, reason


def _ended(ended: Obj) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode') or 0}"


def _condition(status: Obj, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _deleted(obj: Obj, status: Obj, reason: str) -> str:
    if not obj["metadata"].get("deletionTimestamp"):
        return reason
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return reason if status.get("phase") in ("Succeeded", "Failed") else "Terminating"


def _gates(spec: Obj, status: Obj) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return table.NONE
    return f"{sum(_condition(status, g.get('conditionType', '')) for g in gates)}/{len(gates)}"
