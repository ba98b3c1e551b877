"""What a StatefulSet does next: create a pod, wait for one, delete one, or nothing.

Pure functions over the set, its two revisions and its pods. With the policy OrderedReady one pod is touched at a time, in the order of
ordinals up and against it down; with Parallel all at once, but for updates. References: StatefulSet (apps/v1), "Deployment and Scaling
Guarantees", "Update strategies", KEP-961 (maxUnavailable).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pilothouse.api import intorstring
from pilothouse.client.reconcile.objects import Obj, is_deleting
from pilothouse.controllers import pods as pod_facts
from pilothouse.controllers import statefulset_identity as identity


@dataclass(frozen=True, slots=True)
class State:
    """A set, the names of its current revision and of that of its template, its pods by ordinal, and the time."""

    stateful_set: Obj
    current: str
    update: str
    pods: dict[int, Obj]
    now: float

    @property
    def wanted(self) -> range:
        start = identity.start(self.stateful_set)
        return range(start, start + identity.replicas(self.stateful_set))

    @property
    def condemned(self) -> list[int]:
        """Ordinals of pods beyond the set's size, the highest first."""
        return sorted((n for n in self.pods if n not in self.wanted), reverse=True)

    def is_available(self, pod: Obj) -> bool:
        wait = self.stateful_set["spec"].get("minReadySeconds") or 0
        return is_running_and_ready(pod) and pod_facts.available_since(pod, wait) <= self.now


def is_running_and_ready(pod: Obj) -> bool:
    return pod_facts.phase(pod) == "Running" and pod_facts.is_ready(pod)


def is_healthy(pod: Obj) -> bool:
    return is_running_and_ready(pod) and not is_deleting(pod)


@dataclass(slots=True)
class Plan:
    """Ordinals of pods to create, pods to put right (identity, claims), pods to delete."""

    create: list[int] = field(default_factory=list)
    mend: list[int] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    #: Pods that go because of an update: they do not count for the current revision any more.
    outdated: bool = False


def is_parallel(stateful_set: Obj) -> bool:
    return stateful_set["spec"].get("podManagementPolicy") == "Parallel"


def is_rolling(stateful_set: Obj) -> bool:
    return (stateful_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"


def _rolling(stateful_set: Obj) -> Obj:
    return (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}


def partition(stateful_set: Obj) -> int:
    return _rolling(stateful_set).get("partition") or 0


def revision_for(state: State, number: int) -> str:
    """The name of the revision of which a new pod of this ordinal is made."""
    stateful_set, start = state.stateful_set, identity.start(state.stateful_set)
    if not is_rolling(stateful_set):
        return state.update
    keeps = (
        partition(stateful_set)
        if _rolling(stateful_set)
        else (stateful_set.get("status") or {}).get("currentReplicas") or 0
    )  # fmt: skip
    return state.current if number < start + keeps else state.update


def plan(state: State) -> Plan:
    """One look at a set that is not being deleted."""
    if is_parallel(state.stateful_set):
        out, go_on = _replace_all(state), True
    else:
        out, go_on = _replace_in_order(state)
    if go_on:
        go_on = _remove_condemned(state, out)
    if go_on and is_rolling(state.stateful_set):
        _roll(state, out)
    return out


def _replace_all(state: State) -> Plan:
    out = Plan()
    for number in state.wanted:
        pod = state.pods.get(number)
        if pod is None:
            out.create.append(number)
        elif pod_facts.is_finished(pod):
            out.delete += [] if is_deleting(pod) else [pod]
        else:
            out.mend.append(number)
    return out


def _replace_in_order(state: State) -> tuple[Plan, bool]:
    """Up to the first pod that has to be waited for; whether there is none."""
    out = Plan()
    for number in state.wanted:
        pod = state.pods.get(number)
        if pod is None:
            out.create.append(number)
            return out, False
        if pod_facts.is_finished(pod):
            out.delete += [] if is_deleting(pod) else [pod]
            return out, False
        out.mend.append(number)
        if is_deleting(pod) or not state.is_available(pod):
            return out, False
    return out, True


def _remove_condemned(state: State, out: Plan) -> bool:
    """Delete pods beyond the size; whether to go on to updates.

    In order, one that is not ready may get ready and is waited for, unless it is the lowest of these. One that has ended never will.
    """
    if is_parallel(state.stateful_set):
        out.delete += [state.pods[n] for n in state.condemned if not is_deleting(state.pods[n])]
        return True
    sick = [n for n in sorted(state.pods) if not is_healthy(state.pods[n])]
    for number in state.condemned:
        pod = state.pods[number]
        if is_deleting(pod):
            return False
        if not state.is_available(pod) and number != sick[0] and not pod_facts.is_finished(pod):
            return False
        out.delete.append(pod)
        return False
    return True


def _roll(state: State, out: Plan) -> None:
    """Delete outdated pods from the highest ordinal down, as far as the partition and the pods that are missing already allow."""
    if any(n not in state.pods for n in state.wanted):
        return
    least = identity.start(state.stateful_set) + partition(state.stateful_set)
    targets = [n for n in reversed(state.wanted) if n >= least]
    limit = _rolling(state.stateful_set).get("maxUnavailable")
    doomed = _one_by_one(state, targets) if limit is None else _several(state, targets, limit)
    known = {p["metadata"]["name"] for p in out.delete}
    doomed = [p for p in doomed if p["metadata"]["name"] not in known]
    out.outdated = bool(doomed)
    out.delete += doomed


def _is_outdated(state: State) -> Callable[[Obj], bool]:
    return lambda pod: identity.revision_of(pod) != state.update and not is_deleting(pod)


def _one_by_one(state: State, targets: Sequence[int]) -> list[Obj]:
    outdated = _is_outdated(state)
    for number in targets:
        pod = state.pods[number]
        if outdated(pod):
            return [pod]
        if is_deleting(pod) or not state.is_available(pod):
            return []
    return []


def _several(state: State, targets: Sequence[int], limit: int | str) -> list[Obj]:
    most = max(1, intorstring.scaled(limit, len(state.wanted), round_up=True))
    missing = sum(is_deleting(state.pods[n]) or not state.is_available(state.pods[n]) for n in state.wanted)
    outdated = _is_outdated(state)
    doomed = [state.pods[n] for n in targets if outdated(state.pods[n])]
    return doomed[: max(0, most - missing)]


# Status -------------------------------------------------------------------------------------------------------------------------


def status(state: State, done: Plan) -> Obj:
    """The status to be, once the plan has been carried out."""
    gone = {p["metadata"]["name"] for p in done.delete} if done.outdated else set()
    counts = dict.fromkeys(("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"), 0)
    for pod in state.pods.values():
        counts["replicas"] += 1
        counts["readyReplicas"] += is_running_and_ready(pod)
        counts["availableReplicas"] += state.is_available(pod)
        if not is_deleting(pod) and pod["metadata"]["name"] not in gone:
            counts["currentReplicas"] += identity.revision_of(pod) == state.current
            counts["updatedReplicas"] += identity.revision_of(pod) == state.update
    before = state.stateful_set.get("status") or {}
    current = state.current
    if is_rolling(state.stateful_set) and _is_complete(state, counts):
        counts["currentReplicas"], current = counts["updatedReplicas"], state.update
    out: Obj = {"observedGeneration": state.stateful_set["metadata"].get("generation", 0), "replicas": counts.pop("replicas")}
    out |= {k: v for k, v in counts.items() if v and k != "availableReplicas"}
    out |= {"currentRevision": current, "updateRevision": state.update, "collisionCount": before.get("collisionCount") or 0}
    out["availableReplicas"] = counts["availableReplicas"]
    return {**out, **({"conditions": before["conditions"]} if before.get("conditions") else {})}


def _is_complete(state: State, counts: dict[str, int]) -> bool:
    wanted = len(state.wanted)
    return all(counts[k] == wanted for k in ("replicas", "readyReplicas", "updatedReplicas"))


def next_available(state: State) -> float | None:
    """The moment at which a ready pod becomes available by time alone."""
    wait = state.stateful_set["spec"].get("minReadySeconds") or 0
    moments = [pod_facts.available_since(p, wait) for p in state.pods.values() if is_running_and_ready(p)]
    return min((m for m in moments if state.now < m < float("inf")), default=None)
