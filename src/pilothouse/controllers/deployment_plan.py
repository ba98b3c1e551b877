"""How a Deployment moves its pods from old ReplicaSets to the newest one: a pure function of what is there.

`plan` answers one look: which set to create, which to resize, which to delete. Whatever it asks for changes the state, the
change wakes the controller, and the next look goes one step further; with nothing to ask for, the Deployment is where it should
be. References: Deployment (apps/v1): "Rolling update", "Proportional scaling", "Recreate", "Pausing and resuming".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.client.reconcile.objects import Obj, annotations_of, created_at, is_deleting
from pilothouse.controllers import deployment_revisions as revisions


@dataclass(frozen=True, slots=True)
class Limits:
    """The Deployment's wanted size and how far a rollout may go above and below it."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def least_available(self) -> int:
        return self.replicas - self.unavailable


@dataclass(frozen=True, slots=True)
class State:
    """A Deployment, the sets it owns, and whether pods of its old sets still run (asked for Recreate only)."""

    deployment: Obj
    sets: Sequence[Obj]
    old_pods_run: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """A set to be updated: its new size, annotations and `minReadySeconds`."""

    target: Obj
    replicas: int
    annotations: dict[str, str]
    min_ready: int = 0

    @property
    def before(self) -> int:
        return size(self.target)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes to make now. `newest` is the set of the present template, if it exists already."""

    newest: Obj | None = None
    create: Obj | None = None
    resize: tuple[Resize, ...] = ()
    delete: tuple[Obj, ...] = field(default=())


def size(replica_set: Obj) -> int:
    replicas = replica_set["spec"].get("replicas")
    return 1 if replicas is None else replicas


def available(replica_set: Obj) -> int:
    """How many pods can be counted on: those that its status calls available, but no more than are going to stay."""
    return min((replica_set.get("status") or {}).get("availableReplicas") or 0, size(replica_set))


def is_rolling(deployment: Obj) -> bool:
    return (deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"


def limits(deployment: Obj) -> Limits:
    """Resolve `maxSurge` (rounded up) and `maxUnavailable` (rounded down); both zero would never move, so one may be missing."""
    replicas = deployment["spec"].get("replicas", 1)
    if not is_rolling(deployment):
        return Limits(replicas, 0, 0)
    rolling = deployment["spec"]["strategy"].get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", 0), replicas, up=True)
    missing = _share(rolling.get("maxUnavailable", 0), replicas, up=False)
    if surge == 0 and missing == 0:
        missing = 1
    return Limits(replicas, surge, min(missing, replicas))


def _share(value: int | str, whole: int, up: bool) -> int:
    """A number, or a percentage of `whole`."""
    if isinstance(value, int):
        return value
    percent = int(value.rstrip("%")) * whole
    return -(-percent // 100) if up else percent // 100


def plan(state: State) -> Plan:
    """One look at a Deployment that is not being deleted."""
    deployment, sets = state.deployment, revisions.by_age(state.sets)
    bounds, newest = limits(deployment), revisions.newest(deployment, sets)
    old = [s for s in sets if s is not newest]
    if deployment["spec"].get("paused"):
        changes = _scale(deployment, sets, newest, bounds)
        return changes if changes.resize else _tidy(deployment, newest, old)
    if newest is not None and (renewed := _renew(deployment, newest, old)):
        return Plan(newest, resize=(renewed,))
    if _is_being_scaled(deployment, sets) and (changes := _scale(deployment, sets, newest, bounds)).resize:
        return changes
    if is_rolling(deployment):
        return _roll(deployment, sets, newest, old, bounds)
    return _recreate(state, newest, old, bounds)


def _renew(deployment: Obj, newest: Obj, old: list[Obj]) -> Resize | None:
    """The newest set with the annotations and the patience that it should have now; None if it has them."""
    notes = revisions.revised_annotations(deployment, dict(annotations_of(newest)), revisions.next_revision(old), exists=True)
    wait = deployment["spec"].get("minReadySeconds") or 0
    if notes == annotations_of(newest) and wait == (newest["spec"].get("minReadySeconds") or 0):
        return None
    return Resize(newest, size(newest), notes, wait)


def _resized(replica_set: Obj, replicas: int, bounds: Limits) -> Resize:
    notes = {**annotations_of(replica_set), **revisions.scale_annotations(bounds.replicas, bounds.surge)}
    return Resize(replica_set, replicas, notes, replica_set["spec"].get("minReadySeconds") or 0)


def _changes(resizes: list[Resize], force: bool = False) -> tuple[Resize, ...]:
    """Those that change a size or, with `force`, an annotation."""
    return tuple(r for r in resizes if r.replicas != r.before or (force and r.annotations != annotations_of(r.target)))


# Rolling update -----------------------------------------------------------------------------------------------------------------


def _roll(deployment: Obj, sets: list[Obj], newest: Obj | None, old: list[Obj], bounds: Limits) -> Plan:
    """Grow the newest set as far as the surge allows; else shrink old ones as far as availability allows; else tidy up."""
    grown = _grown(sets, newest, bounds)
    if newest is None:
        return Plan(create=revisions.new_set(deployment, old, grown, bounds.surge))
    if grown != size(newest):
        return Plan(newest, resize=(_resized(newest, grown, bounds),))
    if shrunk := _shrink(sets, newest, old, bounds):
        return Plan(newest, resize=shrunk)
    return _tidy(deployment, newest, old)


def _grown(sets: list[Obj], newest: Obj | None, bounds: Limits) -> int:
    """The size that the newest set may have now."""
    present = size(newest) if newest is not None else 0
    if newest is not None and present >= bounds.replicas:
        return bounds.replicas
    room = bounds.most - sum(size(s) for s in sets)
    return present + max(0, min(room, bounds.replicas - present))


def _shrink(sets: list[Obj], newest: Obj, old: list[Obj], bounds: Limits) -> tuple[Resize, ...]:
    """Take pods from old sets, unhealthy ones first: they are missed by nobody."""
    sizes = {s["metadata"]["name"]: size(s) for s in old}
    waiting = size(newest) - available(newest)
    surplus = sum(size(s) for s in sets) - bounds.least_available - waiting
    if surplus <= 0 or not any(sizes.values()):
        return ()
    for each in old:
        name = each["metadata"]["name"]
        take = min(surplus, max(0, sizes[name] - available(each)))
        sizes[name] -= take
        surplus -= take
    spare = sum(available(s) for s in sets) - bounds.least_available
    for each in old:
        name = each["metadata"]["name"]
        take = min(max(0, spare), sizes[name])
        sizes[name] -= take
        spare -= take
    return _changes([_resized(s, sizes[s["metadata"]["name"]], bounds) for s in old])


# Recreate -----------------------------------------------------------------------------------------------------------------------


def _recreate(state: State, newest: Obj | None, old: list[Obj], bounds: Limits) -> Plan:
    """First no old pod, then the new ones."""
    if stopped := _changes([_resized(s, 0, bounds) for s in old if size(s) > 0]):
        return Plan(newest, resize=stopped)
    if state.old_pods_run:
        return Plan(newest)
    if newest is None:
        return Plan(create=revisions.new_set(state.deployment, old, bounds.replicas, bounds.surge))
    if size(newest) != bounds.replicas:
        return Plan(newest, resize=(_resized(newest, bounds.replicas, bounds),))
    return _tidy(state.deployment, newest, old)


# Scaling ------------------------------------------------------------------------------------------------------------------------


def _is_being_scaled(deployment: Obj, sets: list[Obj]) -> bool:
    """Whether the Deployment's size is not the one for which its sets were last sized."""
    replicas = deployment["spec"].get("replicas", 1)
    marks = [revisions.desired(s) for s in sets if size(s) > 0]
    return any(mark is not None and mark != replicas for mark in marks)


def _scale(deployment: Obj, sets: list[Obj], newest: Obj | None, bounds: Limits) -> Plan:
    """Bring all sets together to the Deployment's size, in proportion while a rollout is under way."""
    active = [s for s in sets if size(s) > 0]
    if len(active) <= 1:
        only = active[0] if active else newest or (max(sets, key=created_at) if sets else None)
        if only is None:
            return Plan(newest)
        return Plan(newest, resize=_changes([_resized(only, bounds.replicas, bounds)], force=True))
    if newest is not None and _is_saturated(newest, bounds):
        return Plan(newest, resize=_changes([_resized(s, 0, bounds) for s in active if s is not newest]))
    if not is_rolling(deployment):
        return Plan(newest)
    return Plan(newest, resize=_changes(_proportional(deployment, active, bounds), force=True))


def _is_saturated(newest: Obj, bounds: Limits) -> bool:
    """Whether the newest set alone is what the Deployment wants."""
    return size(newest) == bounds.replicas == revisions.desired(newest) == available(newest)


def _proportional(deployment: Obj, active: list[Obj], bounds: Limits) -> list[Resize]:
    """Share what is to be added (or taken) by size; what rounding leaves over goes to the largest."""
    allowed = bounds.most if bounds.replicas > 0 else 0
    total = allowed - sum(size(s) for s in active)
    newer_first = 1 if total > 0 else -1
    active = sorted(active, key=lambda s: (-size(s), -newer_first * created_at(s), s["metadata"]["name"]))
    sizes, given = [], 0
    for each in active:
        part = _part(deployment, each, bounds, total, given) if total else 0
        sizes.append(size(each) + part)
        given += part
    if active:
        sizes[0] = max(0, sizes[0] + total - given)
    return [_resized(s, n, bounds) for s, n in zip(active, sizes, strict=True)]


def _part(deployment: Obj, each: Obj, bounds: Limits, total: int, given: int) -> int:
    """This set's part of `total`, of which `given` are given already."""
    rest = total - given
    if bounds.replicas == 0:
        fair = -size(each)
    else:
        before = revisions.maximum(each) or (deployment.get("status") or {}).get("replicas") or bounds.most
        fair = _round(size(each) * bounds.most / before) - size(each)
    return min(fair, rest) if total > 0 else max(fair, rest)


def _round(value: float) -> int:
    """To the nearest, halves away from zero."""
    return math.floor(value + 0.5)


# Afterwards ---------------------------------------------------------------------------------------------------------------------


def _tidy(deployment: Obj, newest: Obj | None, old: list[Obj]) -> Plan:
    """Forget superfluous revisions once the Deployment is complete (or paused)."""
    if deployment["spec"].get("paused") or _is_settled(deployment, newest, old):
        return Plan(newest, delete=tuple(revisions.forgettable(deployment, old)))
    return Plan(newest)


def _is_settled(deployment: Obj, newest: Obj | None, old: list[Obj]) -> bool:
    """Whether every wanted pod is new and available, and no old one is left."""
    replicas = deployment["spec"].get("replicas", 1)
    if newest is None or is_deleting(newest):
        return False
    status = newest.get("status") or {}
    left = any((s.get("status") or {}).get("replicas") for s in old)
    return not left and (status.get("replicas") or 0) == replicas == available(newest)
