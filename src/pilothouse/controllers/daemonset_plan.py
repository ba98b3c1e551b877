"""What a DaemonSet needs: a pod on every node that it belongs on, moved to the newest template node by node.

Pure functions over the set, the nodes and the pods on each. `manage` repairs what is wrong with the number of pods; once there is
nothing to repair `roll` goes one step of a rolling update. References: DaemonSet (apps/v1), "Perform a Rolling Update on a DaemonSet",
KEP-1591 (surge).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api import intorstring
from pilothouse.client.reconcile.objects import Obj, created_at, is_deleting
from pilothouse.controllers import daemonset_nodes as places
from pilothouse.controllers import pods as pod_facts

#: Never more creations or deletions than this in one look at a set.
BURST = 250


@dataclass(frozen=True, slots=True)
class State:
    """A set, its place on each node, its pods by the node that they are meant for, the hash of the present template, the time."""

    daemon_set: Obj
    places: Mapping[str, places.Place]
    pods: Mapping[str, Sequence[Obj]]
    mark: str
    now: float

    def is_new(self, pod: Obj) -> bool:
        return places.is_updated(pod, self.daemon_set, self.mark)

    def is_available(self, pod: Obj) -> bool:
        wait = self.daemon_set["spec"].get("minReadySeconds") or 0
        return pod_facts.is_ready(pod) and pod_facts.available_since(pod, wait) <= self.now


@dataclass(slots=True)
class Plan:
    """Nodes to create a pod for, pods to delete, and finished pods, which are deleted too, but not again and again at once."""

    create: list[str] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    ended: list[Obj] = field(default_factory=list)


def state_of(daemon_set: Obj, nodes: Iterable[Obj], pods: Iterable[Obj], mark: str, now: float) -> State:
    place = places.placer(daemon_set)
    return State(daemon_set, {n["metadata"]["name"]: place(n) for n in nodes}, by_target(pods), mark, now)


def by_target(pods: Iterable[Obj]) -> dict[str, list[Obj]]:
    out: dict[str, list[Obj]] = {}
    for pod in pods:
        if name := places.target(pod):
            out.setdefault(name, []).append(pod)
    return out


def is_rolling(daemon_set: Obj) -> bool:
    return (daemon_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"


def _limits(daemon_set: Obj, desired: int) -> tuple[int, int]:
    """maxSurge and maxUnavailable of so many pods, both rounded up; without either, one pod may be missing."""
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = intorstring.scaled(rolling.get("maxSurge", 0), desired, round_up=True)
    missing = intorstring.scaled(rolling.get("maxUnavailable", 1), desired, round_up=True)
    return surge, missing if surge or missing else 1


def _may_surge(daemon_set: Obj) -> bool:
    return is_rolling(daemon_set) and _limits(daemon_set, 1)[0] > 0


def _oldest_first(pods: Iterable[Obj]) -> list[Obj]:
    return sorted(pods, key=lambda p: (created_at(p), p["metadata"]["name"]))


# Repairing ----------------------------------------------------------------------------------------------------------------------


def manage(state: State) -> Plan:
    """What is missing and what is too much, all nodes over."""
    plan = Plan()
    for name in sorted(state.places):
        _manage_node(state, name, plan)
    for name, lost in state.pods.items():
        if name not in state.places:
            plan.delete += [p for p in lost if not p["spec"].get("nodeName") and not is_deleting(p)]
    return plan


def _manage_node(state: State, name: str, plan: Plan) -> None:
    place = state.places[name]
    pods = state.pods.get(name) or ()
    if place.start and not pods:
        plan.create.append(name)
    elif not place.stay:
        plan.delete += [p for p in pods if not is_deleting(p)]
    else:
        present = [p for p in pods if not is_deleting(p)]
        plan.ended += [p for p in present if pod_facts.is_finished(p)]
        plan.delete += _too_many(state, _oldest_first(p for p in present if not pod_facts.is_finished(p)))


def _too_many(state: State, running: list[Obj]) -> list[Obj]:
    """Of several pods on a node all but the oldest; during a surge an old and a new one may be there while the new one gets ready."""
    if len(running) <= 1 or not _may_surge(state.daemon_set):
        return running[1:]
    new = [p for p in running if state.is_new(p)]
    old = [p for p in running if not state.is_new(p)]
    doomed = new[1:] + old[1:]
    if new and old and (not pod_facts.is_ready(old[0]) or state.is_available(new[0])):
        doomed.append(old[0])
    return doomed


# Rolling update -----------------------------------------------------------------------------------------------------------------


def roll(state: State) -> Plan:
    """The next step from old pods to new ones."""
    wanted = sum(p.start for p in state.places.values())
    surge, missing = _limits(state.daemon_set, wanted)
    return _roll_by_surge(state, surge) if surge else _roll_by_absence(state, missing)


def _pair(state: State, pods: Iterable[Obj]) -> tuple[Obj | None, Obj | None] | None:
    """The new and the old pod of a node; None if there are more, which has to be repaired first."""
    present = [p for p in pods if not is_deleting(p)]
    new = [p for p in present if state.is_new(p)]
    old = [p for p in present if not state.is_new(p)]
    if len(new) > 1 or len(old) > 1:
        return None
    return (new[0] if new else None), (old[0] if old else None)


def _roll_by_absence(state: State, allowed: int) -> Plan:
    """Delete old pods: those that are not available at once, of the others as many as may be missing."""
    missing = 0
    useless: list[Obj] = []
    candidates: list[Obj] = []
    for name in sorted(state.pods):
        pair = _pair(state, state.pods[name])
        new, old = pair if pair is not None else (None, None)
        if new is not None and old is None:
            missing += not state.is_available(new)
        elif old is None or new is not None:
            missing += 1
        elif not state.is_available(old):
            missing += 1
            useless.append(old)
        else:
            candidates.append(old)
    return Plan(delete=useless + candidates[: max(0, allowed - missing)])


def _roll_by_surge(state: State, allowed: int) -> Plan:
    """Create new pods beside old ones, and delete those that have been replaced."""
    plan = Plan()
    surging = 0
    candidates: list[str] = []
    for name in sorted(state.pods):
        pair = _pair(state, state.pods[name])
        if pair is None:
            surging += 1
            continue
        new, old = pair
        if old is None:
            continue
        if new is None:
            (candidates if state.is_available(old) else plan.create).append(name)
        elif state.is_available(old) and not state.is_available(new):
            surging += 1
        else:
            plan.delete.append(old)
    startable = [n for n in candidates if n in state.places and state.places[n].start]
    plan.create = [n for n in plan.create if n in state.places] + startable[: max(0, allowed - surging)]
    return plan


# Status -------------------------------------------------------------------------------------------------------------------------


def status(state: State, observed: bool) -> tuple[Obj, float | None]:
    """The status to be, and the moment (if any) at which another pod becomes available. `observed`: whether the spec was acted on."""
    counts = dict.fromkeys(("desired", "current", "misscheduled", "ready", "available", "updated"), 0)
    upcoming: list[float] = []
    for name, place in state.places.items():
        pods = state.pods.get(name) or ()
        if not place.start:
            counts["misscheduled"] += bool(pods)
            continue
        counts["desired"] += 1
        if not pods:
            continue
        counts["current"] += 1
        pod = _oldest_first(pods)[0]
        if pod_facts.is_ready(pod):
            counts["ready"] += 1
            if state.is_available(pod):
                counts["available"] += 1
            else:
                upcoming.append(pod_facts.available_since(pod, state.daemon_set["spec"].get("minReadySeconds") or 0))
        counts["updated"] += state.is_new(pod)
    return _told(state, counts, observed), min(upcoming, default=None)


def _told(state: State, counts: Mapping[str, int], observed: bool) -> Obj:
    before = state.daemon_set.get("status") or {}
    generation = state.daemon_set["metadata"].get("generation", 0) if observed else before.get("observedGeneration", 0)
    out: Obj = {k: v for k, v in before.items() if k in ("collisionCount", "conditions")}
    out |= {
        "currentNumberScheduled": counts["current"],
        "desiredNumberScheduled": counts["desired"],
        "numberMisscheduled": counts["misscheduled"],
        "numberReady": counts["ready"],
    }
    optional = {
        "observedGeneration": generation,
        "updatedNumberScheduled": counts["updated"],
        "numberAvailable": counts["available"],
        "numberUnavailable": counts["desired"] - counts["available"],
    }
    return {**out, **{k: v for k, v in optional.items() if v}}
