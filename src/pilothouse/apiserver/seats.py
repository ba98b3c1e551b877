"""How many requests of a priority level run at once: seats, and fair queues for those that have to wait.

API Priority and Fairness (KEP-1040) and borrowing between levels (KEP-2578), simplified: each level owns a share of the server's seats, lends what
its `lendablePercent` allows while it does not need it, and may borrow up to `borrowingLimitPercent`. Who finds no seat waits in a
queue of its flow (one user, or one namespace); flows take turns. Full queues and long waits are 429. Left out: requests that take
several seats, shuffle sharding (a flow here is a queue of its own), and the slow adjustment of limits: seats are lent at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pilothouse.api.errors import Obj

#: How long a request waits for a seat: a quarter of the time that it may take.
WAIT_SECONDS = 15.0
_DEFAULT_SHARES = 30
#: queues, hand size, length of a queue: as priority levels have them unless they say otherwise.
_DEFAULT_QUEUING = (64, 8, 50)


class _Clock(Protocol):
    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any: ...


class Level:
    """One priority level: its limits, and who is running and waiting."""

    __slots__ = ("borrowing", "cancelled", "exempt", "flow_limit", "guaranteed", "lendable", "name", "nominal", "queue_limit", "queues", "refused", "running", "shares", "timed_out", "uid", "waiting")  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = self.waiting = 0
        #: Requests turned away: at once, after waiting, by their clients.
        self.refused = self.timed_out = self.cancelled = 0
        self.queues: dict[str, deque[asyncio.Future[bool]]] = {}
        self.nominal = self.guaranteed = 0
        self.configure("", {})

    def configure(self, uid: str, spec: Obj) -> None:
        """Take in what its PriorityLevelConfiguration says."""
        self.uid = uid
        self.exempt = spec.get("type") == "Exempt"
        settings = spec.get("exempt" if self.exempt else "limited") or {}
        self.shares: int = settings.get("nominalConcurrencyShares", 0 if self.exempt else _DEFAULT_SHARES)
        self.lendable = settings.get("lendablePercent") or 0
        self.borrowing: int | None = settings.get("borrowingLimitPercent")
        response = settings.get("limitResponse") or {}
        queuing = response.get("queuing") or {}
        names = ("queues", "handSize", "queueLengthLimit")
        queues, hand, length = (int(queuing.get(n) or d) for n, d in zip(names, _DEFAULT_QUEUING, strict=True))
        waits = response.get("type") == "Queue"
        self.queue_limit, self.flow_limit = (queues * length, hand * length) if waits else (0, 0)


class Seats:
    """All levels of one server. `total`: its --max-requests-inflight and --max-mutating-requests-inflight together."""

    def __init__(self, clock: _Clock, total: int) -> None:
        self.levels: dict[str, Level] = {}
        self._clock = clock
        self._total = total
        self._running = 0

    def configure(self, configurations: Iterable[Obj]) -> None:
        """Take in all PriorityLevelConfigurations."""
        before, self.levels = self.levels, {}
        for obj in configurations:
            name = obj["metadata"]["name"]
            level = self.levels[name] = before.get(name) or Level(name)
            level.configure(obj["metadata"].get("uid", ""), obj.get("spec") or {})
        shares = sum(level.shares for level in self.levels.values()) or 1
        for level in self.levels.values():
            level.nominal = math.ceil(self._total * level.shares / shares)
            level.guaranteed = level.nominal - round(level.nominal * level.lendable / 100)
        for level in self.levels.values():
            self._call_up(level)

    # --- taking and giving back ------------------------------------------------------------------------------------------------

    def take(self, level: Level) -> bool:
        """A seat, if there is one and nobody waits for it."""
        if level.waiting or not self._free(level):
            return False
        level.running += 1
        self._running += 1
        return True

    def _free(self, level: Level) -> bool:
        if level.running < level.guaranteed:
            return True
        if level.borrowing is not None and level.running >= level.nominal + level.nominal * level.borrowing // 100:
            return False
        others = sum(max(o.running, o.guaranteed) for o in self.levels.values() if o is not level and not o.exempt)
        return level.running + others < self._total or (level.running == 0 and level.nominal > 0)

    async def wait(self, level: Level, flow: str) -> bool:
        """Wait for a seat; False when the queues are full or it took too long."""
        queue = level.queues.get(flow)
        if level.waiting >= level.queue_limit or (queue is not None and len(queue) >= level.flow_limit):
            level.refused += 1
            return False
        if queue is None:
            queue = level.queues[flow] = deque()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue.append(future)
        level.waiting += 1
        timer = self._clock.call_later(WAIT_SECONDS, lambda: None if future.done() else future.set_result(False))
        try:
            got = await future
        except asyncio.CancelledError:
            level.cancelled += 1
            if not future.cancelled() and future.result():
                self.give_back(level)
            else:
                self._leave(level, flow, future)
            raise
        finally:
            timer.cancel()
        if not got:
            level.timed_out += 1
            self._leave(level, flow, future)
        return got

    def _leave(self, level: Level, flow: str, future: asyncio.Future[bool]) -> None:
        """Somebody waits no more."""
        queue = level.queues[flow]
        queue.remove(future)
        level.waiting -= 1
        if not queue:
            del level.queues[flow]

    def give_back(self, level: Level) -> None:
        """A request has been answered: whoever waits may go on."""
        level.running -= 1
        self._running -= 1
        if level.waiting:
            self._call_up(level)
        elif self._running < self._total:  # a seat that this level had borrowed, or lends again
            for other in self.levels.values():
                if other.waiting:
                    self._call_up(other)

    def _call_up(self, level: Level) -> None:
        """Give free seats to those who wait, one flow after the other."""
        while level.waiting and self._free(level):
            flow, queue = next(iter(level.queues.items()))
            del level.queues[flow]
            waiter = next((f for f in queue if not f.done()), None)
            if waiter is not None:
                queue.remove(waiter)
                level.waiting -= 1
                level.running += 1
                self._running += 1
                waiter.set_result(True)
            if queue:
                level.queues[flow] = queue  # at the end of the line
            if waiter is None and all(f.done() for q in level.queues.values() for f in q):
                return  # only those are left who are about to leave by themselves
