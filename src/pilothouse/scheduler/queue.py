"""The scheduling queue: active (a heap), backoff (a heap by time), unschedulable (a map), and what moves pods between them.

A pod that was refused waits until an event happens that a refusing plugin says can help (queueing hints), then goes through its
back-off: 1 s doubled per attempt, at most 10 s. Events that arrive while a pod is being scheduled are remembered, so that none is
missed between its snapshot and its refusal. After five minutes a pod is tried again whatever happened.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from pilothouse.clock import Clock
from pilothouse.scheduler.framework import EXTENDER, ClusterEvent, Code, Plugin
from pilothouse.scheduler.podinfo import PodInfo

Obj = dict[str, Any]
_Group = tuple[str, frozenset[str]]

INITIAL_BACKOFF = 1.0
MAX_BACKOFF = 10.0
MAX_UNSCHEDULABLE = 300.0
FLUSH_PERIOD = 30.0


class SchedulingQueue:
    """Pods that wait for a node, by namespace/name. Single-threaded: everything happens on the event loop."""

    def __init__(
        self,
        clock: Clock,
        sort_key: Callable[[PodInfo], tuple[Any, ...]],
        plugins: Callable[[PodInfo], Sequence[Plugin]],
        initial_backoff: float = INITIAL_BACKOFF,
        max_backoff: float = MAX_BACKOFF,
    ) -> None:
        self._clock = clock
        self._sort_key = sort_key
        self._plugins = plugins
        self._initial, self._max = initial_backoff, max_backoff
        self._order = itertools.count()
        self._active: list[tuple[tuple[Any, ...], int, PodInfo]] = []
        self._backoff: list[tuple[float, int, PodInfo]] = []
        self._where: dict[str, tuple[str, PodInfo]] = {}  # key -> (active, backoff, unschedulable, gated), pod
        self._since: dict[str, float] = {}  # unschedulable since
        #: Unschedulable pods by scheduler name and the plugins that refused them: an event asks only groups that it can help.
        self._groups: dict[_Group, dict[str, None]] = {}
        self._group_of: dict[str, _Group] = {}
        self._in_flight: dict[str, int] = {}  # key -> index into the events it has not been shown
        self._events: list[tuple[ClusterEvent, Obj | None, Obj | None]] = []
        self._ready = asyncio.Event()

    # --- in and out --------------------------------------------------------------------------------------------------------------

    def add(self, pod: PodInfo) -> None:
        """A new pod, or a new state of a waiting one."""
        known = self._where.get(pod.key)
        if known is not None:
            pod.queued_at, pod.attempts, pod.refused_by = known[1].queued_at, known[1].attempts, known[1].refused_by
            pod.nominated = known[1].nominated
        else:
            pod.queued_at = pod.queued_at or self._clock.now()
        if self._is_gated(pod):
            self._put("gated", pod)
        elif known is not None and known[0] == "unschedulable":
            self._put("unschedulable", pod)
            self._back_off(pod)  # what it asks for changed: another try is worth it
        elif known is not None and known[0] == "backoff":
            self._where[pod.key] = ("backoff", pod)
        else:
            self._activate(pod)

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
            pod = self._pop_active()
            if pod is not None:
                pod.attempts += 1
                self._in_flight[pod.key] = len(self._events)
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

    def done(self, pod: PodInfo) -> None:
        """The pod has a node."""
        self._in_flight.pop(pod.key, None)
        self._trim_events()

    def refused(self, pod: PodInfo, plugins: frozenset[str], error: bool = False) -> None:
        """No node now: wait for an event that can help, or (after an error) just for the back-off."""
        first = self._in_flight.pop(pod.key, len(self._events))
        pod.refused_by = plugins
        missed = self._events[first:]
        if error or not plugins or any(self._helps(pod, *m) for m in missed):
            self._back_off(pod)
        else:
            self._put("unschedulable", pod)
        self._trim_events()

    def retry_all(self) -> None:
        """Whatever refused pods before may have changed: all that are unschedulable get another try."""
        for key in [k for k, (where, _) in self._where.items() if where == "unschedulable"]:
            self._back_off(self._where[key][1])

    def _trim_events(self) -> None:
        if not self._in_flight:
            self._events.clear()

    # --- events ------------------------------------------------------------------------------------------------------------------

    def happened(self, event: ClusterEvent, old: Obj | None, new: Obj | None) -> None:
        """Something changed: move the pods that it can help."""
        if self._in_flight:
            self._events.append((event, old, new))
        for members in list(self._groups.values()):
            if not self._listens(self._where[next(iter(members))][1], event):
                continue
            for key in list(members):
                pod = self._where[key][1]
                if self._helps(pod, event, old, new):
                    self._back_off(pod)

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
                self._back_off(self._where[key][1])

    # --- moves -------------------------------------------------------------------------------------------------------------------

    def _is_gated(self, pod: PodInfo) -> bool:
        for plugin in self._plugins(pod):
            status = plugin.pre_enqueue(pod)
            if status is not None and status.code is not Code.SUCCESS:
                return True
        return False

    def _put(self, where: str, pod: PodInfo) -> None:
        self._where[pod.key] = (where, pod)
        if where != "unschedulable":
            self._leave_unschedulable(pod.key)
            return
        since = self._since.get(pod.key, self._clock.now())
        self._leave_unschedulable(pod.key)
        self._since[pod.key] = since
        group = self._group_of[pod.key] = (pod.spec.get("schedulerName", ""), pod.refused_by)
        self._groups.setdefault(group, {})[pod.key] = None

    def _leave_unschedulable(self, key: str) -> None:
        self._since.pop(key, None)
        group = self._group_of.pop(key, None)
        if group is not None:
            del self._groups[group][key]
            if not self._groups[group]:
                del self._groups[group]

    def _activate(self, pod: PodInfo) -> None:
        self._put("active", pod)
        heapq.heappush(self._active, (self._sort_key(pod), next(self._order), pod))
        self._ready.set()

    def backoff_of(self, pod: PodInfo) -> float:
        """Seconds to wait after this many attempts."""
        return min(self._initial * 2.0 ** max(0, pod.attempts - 1), self._max)

    def _back_off(self, pod: PodInfo) -> None:
        since = self._since.get(pod.key, self._clock.now())
        due = since + self.backoff_of(pod)
        if due <= self._clock.now():
            self._activate(pod)
            return
        self._put("backoff", pod)
        heapq.heappush(self._backoff, (due, next(self._order), pod))
        self._clock.call_later(due - self._clock.now(), self._flush_backoff)

    def _flush_backoff(self) -> None:
        now = self._clock.now() + 1e-6
        while self._backoff and self._backoff[0][0] <= now:
            pod = heapq.heappop(self._backoff)[2]
            where = self._where.get(pod.key)
            if where is not None and where[0] == "backoff":
                self._activate(where[1])

    # --- looking -----------------------------------------------------------------------------------------------------------------

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
