"""The scheduling queue: active (a heap), backoff (a heap by time), unschedulable (a map), and what moves pods between them.

A pod that was refused waits until an event happens that a refusing plugin says can help (queueing hints), then goes through its
back-off: 1 s doubled per attempt, at most 10 s. Events that arrive while a pod is being scheduled are remembered, so that none is
missed between its snapshot and its refusal. After five minutes a pod is tried again whatever happened. While nothing else is to be
done, pods need not sit out their back-off (KEP-5142), but for those whose last attempt was an error.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from pilothouse.clock import Clock
from pilothouse.scheduler.framework import EXTENDER, ClusterEvent, Code, Plugin, implements
from pilothouse.scheduler.podinfo import PodInfo

Obj = dict[str, Any]
#: Scheduler name, and the plugins that refused.
_Group = tuple[str, frozenset[str]]
#: What hints go by: the signature of pods that are all alike to them, or the key of a single pod.
_Kind = bytes | str

INITIAL_BACKOFF = 1.0
MAX_BACKOFF = 10.0
MAX_UNSCHEDULABLE = 300.0
FLUSH_PERIOD = 30.0
#: Events that everybody has been shown and that are still kept at most, while pods are in flight.
TRIM = 256
#: What brings pods to a queue, besides events of the cluster.
ADDED, CHANGED, FAILED = "PodAdd", "PodUpdate", "ScheduleAttemptFailure"


class SchedulingQueue:
    """Pods that wait for a node, by namespace/name. Single-threaded: everything happens on the event loop."""

    def __init__(
        self,
        clock: Clock,
        sort_key: Callable[[PodInfo], tuple[Any, ...]],
        plugins: Callable[[PodInfo], Sequence[Plugin]],
        initial_backoff: float = INITIAL_BACKOFF,
        max_backoff: float = MAX_BACKOFF,
        moved: Callable[[str, str], None] = lambda queue, event: None,
    ) -> None:
        """`moved` is told of each pod that comes to a queue (active, backoff, unschedulable, gated), and by what event."""
        self._clock = clock
        self._sort_key = sort_key
        self._plugins = plugins
        self._initial, self._max = initial_backoff, max_backoff
        self._moved = moved
        self._order = itertools.count()
        self._active: list[tuple[tuple[Any, ...], int, PodInfo]] = []
        self._backoff: list[tuple[float, int, PodInfo]] = []
        self._patient: set[str] = set()  # keys of those that sit out their back-off
        self._where: dict[str, tuple[str, PodInfo]] = {}  # key -> (active, backoff, unschedulable, gated), pod
        self._since: dict[str, float] = {}  # unschedulable since
        #: Unschedulable pods by scheduler name and the plugins that refused them, and by kind: an event asks only groups that it can help,
        #: and each kind once.
        self._groups: dict[_Group, dict[_Kind, dict[str, None]]] = {}
        self._group_of: dict[str, tuple[_Group, _Kind]] = {}
        self._in_flight: dict[str, int] = {}  # key -> number of the first event that it has not been shown, oldest first
        self._first_event = 0  # number of the first one in the list
        self._events: list[tuple[ClusterEvent, Obj | None, Obj | None]] = []
        self._ready = asyncio.Event()
        #: Pods for which room is being made, with what would have brought them back meanwhile.
        self._held: dict[str, str] = {}

    # --- in and out --------------------------------------------------------------------------------------------------------------

    def add(self, pod: PodInfo) -> None:
        """A new pod, or a new state of a waiting one."""
        known = self._where.get(pod.key)
        if known is not None:
            pod.queued_at, pod.attempts, pod.refused_by = known[1].queued_at, known[1].attempts, known[1].refused_by
            pod.nominated = known[1].nominated
        else:
            pod.queued_at = pod.queued_at or self._clock.now()
        gate = self._gate_of(pod)
        if gate is not None:
            pod.refused_by = frozenset({gate})
            self._put("gated", pod, ADDED if known is None else "")
        elif known is not None and known[0] == "unschedulable":
            self._put("unschedulable", pod, "")
            self._back_off(pod, CHANGED)  # what it asks for changed: another try is worth it
        elif known is not None and known[0] == "backoff":
            self._where[pod.key] = ("backoff", pod)
        else:
            self._activate(pod, ADDED if known is None else CHANGED)

    def refresh(self, key: str, obj: Obj) -> None:
        """Only the status of a waiting pod changed: no reason to try it again, but its nomination counts at the next try."""
        known = self._where.get(key)
        if known is not None:
            known[1].obj = obj

    def remove(self, key: str) -> None:
        """The pod is gone or was scheduled by somebody else."""
        self._where.pop(key, None)
        self._leave_unschedulable(key)

    async def pop(self) -> PodInfo:
        """The next pod to schedule; waits for one. Call `done` or `refused` for it afterwards."""
        while True:
            pod = self._pop_active() or self._pop_backoff()
            if pod is not None:
                pod.attempts += 1
                self._in_flight[pod.key] = self._first_event + len(self._events)
                return pod
            self._ready.clear()
            await self._ready.wait()

    def _pop_active(self) -> PodInfo | None:
        while self._active:
            pod = heapq.heappop(self._active)[2]
            where = self._where.get(pod.key)
            if where is not None and where[0] == "active":
                del self._where[pod.key]
                return where[1]
        return None

    def _pop_backoff(self) -> PodInfo | None:
        """The first one that backs off, if it need not."""
        kept: list[tuple[float, int, PodInfo]] = []
        found: PodInfo | None = None
        while self._backoff and found is None:
            entry = heapq.heappop(self._backoff)
            where = self._where.get(entry[2].key)
            if where is None or where[0] != "backoff":
                continue
            if entry[2].key in self._patient:
                kept.append(entry)
            else:
                found = where[1]
                del self._where[found.key]
        for entry in kept:
            heapq.heappush(self._backoff, entry)
        return found

    def done(self, pod: PodInfo) -> None:
        """The pod has a node."""
        self._in_flight.pop(pod.key, None)
        self._trim_events()

    def refused(self, pod: PodInfo, plugins: frozenset[str], error: bool = False) -> None:
        """No node now: wait for an event that can help, or (after an error) just for the back-off."""
        first = self._in_flight.pop(pod.key, self._first_event + len(self._events))
        pod.refused_by = plugins
        missed = self._events[first - self._first_event :]
        if error or not plugins or any(self._helps(pod, *m) for m in missed):
            self._back_off(pod, FAILED, patient=error or not plugins)
        else:
            self._put("unschedulable", pod, FAILED)
        self._trim_events()

    def hold(self, key: str) -> None:
        """Room is being made for the pod: whatever happens, it is not tried again until that is done."""
        self._held.setdefault(key, "")

    def release(self, key: str) -> None:
        """It is done: the pod is tried again if something has happened by which it could be helped."""
        event, where = self._held.pop(key, ""), self._where.get(key)
        if event and where is not None and where[0] == "unschedulable":
            self._back_off(where[1], event)

    def retry_all(self) -> None:
        """Whatever refused pods before may have changed: all that are unschedulable get another try."""
        for key in [k for k, (where, _) in self._where.items() if where == "unschedulable"]:
            self._back_off(self._where[key][1], "ForceActivate")

    def _trim_events(self) -> None:
        """Forget events that everybody has been shown."""
        end = self._first_event + len(self._events)
        first = next(iter(self._in_flight.values()), end)
        if first == end or first - self._first_event >= TRIM:
            del self._events[: first - self._first_event]
            self._first_event = first

    # --- events ------------------------------------------------------------------------------------------------------------------

    def happened(self, event: ClusterEvent, old: Obj | None, new: Obj | None) -> None:
        """Something changed: move the pods that it can help."""
        if self._in_flight:
            self._events.append((event, old, new))
        for kinds in list(self._groups.values()):
            if not self._listens(self._one_of(next(iter(kinds.values()))), event):
                continue
            for members in list(kinds.values()):
                if self._helps(self._one_of(members), event, old, new):
                    for key in list(members):
                        self._wake(*self._where[key], event.resource + event.action)

    def _one_of(self, members: dict[str, None]) -> PodInfo:
        return self._where[next(iter(members))][1]

    def _wake(self, where: str, pod: PodInfo, event: str) -> None:
        if where != "gated":
            self._back_off(pod, event)
        elif self._gate_of(pod) is None:
            self._activate(pod, event)

    def _kind_of(self, pod: PodInfo) -> _Kind:
        """Pods are of one kind when no plugin that refused them can tell them apart in its hint."""
        refusing = (plugin for plugin in self._plugins(pod) if plugin.name in pod.refused_by)
        return pod.signature if all(p.hints_alike or not implements(p, "hint") for p in refusing) else pod.key

    def _listens(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """Whether any plugin that refused this pod, and so the others of its group, has to do with such events."""
        if EXTENDER in pod.refused_by:
            return True  # nobody knows what can help those that an extender refused
        return any(plugin.name in pod.refused_by and event in plugin.events for plugin in self._plugins(pod))

    def _helps(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        return EXTENDER in pod.refused_by or any(
            plugin.name in pod.refused_by and event in plugin.events and plugin.hint(pod, event, old, new)
            for plugin in self._plugins(pod)
        )

    async def run(self) -> None:
        """Every 30 s: pods that have been unschedulable for five minutes get another try."""
        while True:
            await self._clock.sleep(FLUSH_PERIOD)
            limit = self._clock.now() - MAX_UNSCHEDULABLE
            for key in [k for k, since in self._since.items() if since < limit]:
                self._back_off(self._where[key][1], "UnschedulableTimeout")

    # --- moves -------------------------------------------------------------------------------------------------------------------

    def _gate_of(self, pod: PodInfo) -> str | None:
        """The plugin that keeps the pod out of the queue, if one does."""
        for plugin in self._plugins(pod):
            status = plugin.pre_enqueue(pod)
            if status is not None and status.code is not Code.SUCCESS:
                return plugin.name
        return None

    def _put(self, where: str, pod: PodInfo, event: str) -> None:
        self._where[pod.key] = (where, pod)
        self._patient.discard(pod.key)
        if event:
            self._moved(where, event)
        since = self._since.get(pod.key, self._clock.now())
        self._leave_unschedulable(pod.key)
        if where not in ("unschedulable", "gated"):
            return
        if where == "unschedulable":
            self._since[pod.key] = since
        group, kind = self._group_of[pod.key] = (pod.spec.get("schedulerName", ""), pod.refused_by), self._kind_of(pod)
        self._groups.setdefault(group, {}).setdefault(kind, {})[pod.key] = None

    def _leave_unschedulable(self, key: str) -> None:
        self._since.pop(key, None)
        if key not in self._group_of:
            return
        group, kind = self._group_of.pop(key)
        kinds = self._groups[group]
        del kinds[kind][key]
        if not kinds[kind]:
            del kinds[kind]
        if not kinds:
            del self._groups[group]

    def _activate(self, pod: PodInfo, event: str) -> None:
        self._put("active", pod, event)
        heapq.heappush(self._active, (self._sort_key(pod), next(self._order), pod))
        self._ready.set()

    def backoff_of(self, pod: PodInfo) -> float:
        """Seconds to wait after this many attempts."""
        return min(self._initial * 2.0 ** max(0, pod.attempts - 1), self._max)

    def _back_off(self, pod: PodInfo, event: str, patient: bool = False) -> None:
        if pod.key in self._held:
            self._held[pod.key] = event
            if pod.key not in self._where:
                self._put("unschedulable", pod, FAILED)
            return
        since = self._since.get(pod.key, self._clock.now())
        due = since + self.backoff_of(pod)
        if due <= self._clock.now():
            self._activate(pod, event)
            return
        self._put("backoff", pod, event)
        if patient:
            self._patient.add(pod.key)
        else:
            self._ready.set()
        heapq.heappush(self._backoff, (due, next(self._order), pod))
        self._clock.call_later(due - self._clock.now(), self._flush_backoff)

    def _flush_backoff(self) -> None:
        now = self._clock.now() + 1e-6
        while self._backoff and self._backoff[0][0] <= now:
            pod = heapq.heappop(self._backoff)[2]
            where = self._where.get(pod.key)
            if where is not None and where[0] == "backoff":
                self._activate(where[1], "BackoffComplete")

    # --- looking -----------------------------------------------------------------------------------------------------------------

    def refused_by(self) -> dict[tuple[str, str], int]:
        """How many unschedulable pods each plugin holds up, by plugin and scheduler name."""
        out: dict[tuple[str, str], int] = {}
        for (scheduler, plugins), kinds in self._groups.items():
            held = sum(1 for members in kinds.values() for key in members if self._where[key][0] == "unschedulable")
            for plugin in plugins if held else ():
                out[plugin, scheduler] = out.get((plugin, scheduler), 0) + held
        return out

    def where(self, key: str) -> str:
        """active, backoff, unschedulable or gated; "" for a pod that does not wait."""
        found = self._where.get(key)
        return found[0] if found is not None else ""

    def pods(self) -> list[PodInfo]:
        """All that wait."""
        return [pod for _, pod in self._where.values()]

    def counts(self) -> dict[str, int]:
        """How many pods are where: the scheduler_pending_pods metric."""
        out = {"active": 0, "backoff": 0, "unschedulable": 0, "gated": 0}
        for where, _ in self._where.values():
            out[where] += 1
        return out
