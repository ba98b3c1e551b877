"""The embedded engine: fronts and pools by name, in this process and on its event loop.

Fronts look pools up by name whenever they choose an endpoint, so what is told of a pool counts from the next choice on. A front that is told
anew keeps its socket while its address stays, and its connections in any case. Whoever calls does so one call at a time or many at once:
each front's changes are made in the order of the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from pilothouse.clock import Clock, Timer
from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.front import FrontState
from pilothouse.dataplane.embedded.limits import Limits
from pilothouse.dataplane.embedded.listening import Listening
from pilothouse.dataplane.embedded.pools import SHUNNED, Balance, PoolState, Target
from pilothouse.dataplane.embedded.tcp import TcpFront
from pilothouse.dataplane.embedded.tunnel import Scratch
from pilothouse.dataplane.embedded.udp import UdpFront
from pilothouse.dataplane.model import Edge, Forward, Front, Pool

#: Seconds between looks for what is idle.
_SWEEP = 2.5
_PIECE = 65_536
#: Turns of the loop in which what was aborted is waited for.
_TURNS = 100


class EmbeddedEngine:
    """See `dataplane.engine.Engine`. `balance` is how an endpoint is chosen where no affinity says it."""

    name = "embedded"

    def __init__(self, clock: Clock, limits: Limits | None = None, balance: Balance = "round_robin") -> None:
        self.clock = clock
        self.limits = limits or Limits()
        #: The time at the last sweep: near enough for what lasts many seconds.
        self.now = clock.monotonic()
        self.scratch = Scratch()
        #: What HTTP is read into and parsed from, one read after the other. Larger pieces cost more: memory for them is fetched each time.
        self.piece = memoryview(bytearray(_PIECE))
        self._balance: Balance = balance
        self._pools: dict[str, PoolState] = {}
        self._fronts: dict[str, FrontState] = {}
        #: Dropped or moved fronts on which something still runs.
        self._leaving: set[FrontState] = set()
        self._counters: dict[str, Counters] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._sweeping: Timer | None = None

    async def start(self) -> None:
        self._sweeping = self.clock.call_later(_SWEEP, self._sweep)

    async def stop(self) -> None:
        async with self._changing:
            if self._sweeping is not None:
                self._sweeping.cancel()
            fronts = [*self._fronts.values(), *self._leaving]
            for front in fronts:
                front.close()
                front.abort()
            for pool in self._pools.values():
                pool.close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._fronts.clear()
            self._leaving.clear()
            self._pools.clear()
            self._counters.clear()
            for _ in range(_TURNS):  # a transport tells of its end in a later turn of the loop
                await asyncio.sleep(0)
                if not any(front.open for front in fronts):
                    break
            await asyncio.sleep(0)

    async def set_pool(self, pool: Pool) -> None:
        known = self._pools.get(pool.name)
        if known is None:
            self._pools[pool.name] = PoolState(pool)
        else:
            known.tell(pool)

    async def drop_pool(self, name: str) -> None:
        known = self._pools.pop(name, None)
        if known is not None:
            known.close()

    async def set_front(self, front: Front) -> None:
        async with self._changing:
            before = self._fronts.get(front.name)
            if before is not None and before.front == front:
                return
            if before is not None and _address(before.front) == _address(front) and before.retell(front):
                return
            counters = self._counters.get(front.name) or Counters()
            self._fronts[front.name] = await self._make(front, counters, before)
            self._counters[front.name] = counters

    async def _make(self, front: Front, counters: Counters, before: FrontState | None) -> FrontState:
        """Another front in place of the one before, whose socket it takes over where it can be."""
        listening = None if before is None or _address(before.front) != _address(front) else before.listening
        made = _kind(front)(self, front, counters)
        made.listening = listening if isinstance(listening, Listening) and not isinstance(made, UdpFront) else None
        await made.listen()
        if before is not None:
            if made.listening is before.listening:
                before.listening = None  # it is the other's to close now
            self._leave(before)
        return made

    async def drop_front(self, name: str) -> None:
        async with self._changing:
            before = self._fronts.pop(name, None)
            self._counters.pop(name, None)
            if before is not None:
                self._leave(before)

    def counters(self) -> Mapping[str, Counters]:
        return self._counters

    # --- for the fronts ---------------------------------------------------------------------------------------------------

    def pool(self, name: str) -> PoolState | None:
        return self._pools.get(name)

    def choose(self, pool: str, client: str, avoid: Collection[Target]) -> Target | None:
        """The next endpoint of a pool for a client's address."""
        known = self._pools.get(pool)
        return None if known is None else known.choose(client, avoid, self.clock.monotonic(), self._balance)

    def shun(self, target: Target) -> None:
        """An endpoint could not be reached."""
        target.shunned_until = self.clock.monotonic() + SHUNNED

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what belongs to a connection; it ends with the engine at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _leave(self, front: FrontState) -> None:
        """Take nothing more by a front; what runs there runs to its end."""
        front.close()
        front.drain()
        if front.open:
            self._leaving.add(front)

    def _sweep(self) -> None:
        now = self.now = self.clock.monotonic()
        for front in self._fronts.values():
            front.sweep(now)
        for front in list(self._leaving):
            front.sweep(now)
            if not front.open:
                self._leaving.discard(front)
        for pool in self._pools.values():
            pool.sweep(now)
        self._sweeping = self.clock.call_later(_SWEEP, self._sweep)


def _kind(front: Front) -> Callable[[EmbeddedEngine, Any, Counters], FrontState]:
    if isinstance(front, Edge):
        from pilothouse.dataplane.embedded.edge import EdgeFront

        return EdgeFront
    return UdpFront if front.transport == "UDP" else TcpFront


def _address(front: Front) -> tuple[str, int, str]:
    return front.address, front.port, front.interface if isinstance(front, Forward) else ""
