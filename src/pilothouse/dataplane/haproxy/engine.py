"""The engine that drives HAProxy.

Fronts are configuration: what changes there takes a new HAProxy, which accepts from the same sockets before the old one stops to
(`listeners`, `generation`). Changes that are told at the same time share one. Endpoints are servers that come and go in the running HAProxy.
A HAProxy that dies is started again. UDP, which HAProxy has not, is carried by the embedded engine in here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import resource
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path

from pilothouse.clock import Clock
from pilothouse.dataplane.embedded.engine import EmbeddedEngine
from pilothouse.dataplane.engine import FrontCounters
from pilothouse.dataplane.haproxy import binary, counts, listeners, servers
from pilothouse.dataplane.haproxy.configuration import Configuration, add, render
from pilothouse.dataplane.haproxy.counts import Counts
from pilothouse.dataplane.haproxy.edges import inner_name
from pilothouse.dataplane.haproxy.folder import Folder
from pilothouse.dataplane.haproxy.forwards import front_name
from pilothouse.dataplane.haproxy.generation import Generation, Refused, refusal
from pilothouse.dataplane.haproxy.listeners import Held
from pilothouse.dataplane.haproxy.relays import Relays
from pilothouse.dataplane.haproxy.sections import Listener, Sections
from pilothouse.dataplane.model import Edge, Forward, Front, Pool

LOG = logging.getLogger(__name__)
REMOVE_EVERY = 1.0
LINGER = 1.0
MOST_CONNECTIONS = 10_000
RESTART_AFTER = (0.0, 0.1, 1.0, 5.0)


class HaproxyEngine:
    """See `dataplane.engine.Engine`."""

    name = "haproxy"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._udp = EmbeddedEngine(clock)
        self._pools: dict[str, Pool] = {}
        #: What is to be, and what HAProxy was last told.
        self._wanted: dict[str, tuple[Front, Held]] = {}
        self._told: dict[str, tuple[Front, Held]] = {}
        #: By the front that HAProxy did not take: its words.
        self._refused: dict[str, str] = {}
        self._version = self._reached = 0
        #: One starts another HAProxy; one tells the one that is of endpoints.
        self._changing, self._telling = asyncio.Lock(), asyncio.Lock()
        #: Pools that were told since the configuration of the last HAProxy was made.
        self._late: set[str] = set()
        self._open: set[socket.socket] = set()
        self._current: Generation | None = None
        self._draining: set[Generation] = set()
        self._past: dict[str, Counts] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._path = ""
        self._kept: Folder | None = None
        self._folder = Path()
        self._relays = Relays("")
        self._stopped = True

    async def start(self) -> None:
        self._path = await asyncio.to_thread(binary.check)
        self._kept = Folder(self._clock.now())
        self._folder = self._kept.path
        self._relays = Relays(str(self._folder))
        self._stopped = False
        await self._udp.start()

    async def stop(self) -> None:
        self._stopped = True
        async with self._changing:
            await self._udp.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for one in [*([self._current] if self._current else []), *self._draining]:
                one.kill()
                await one.ended()
            self._current = None
            self._draining.clear()
            await self._relays.stop()
            self._wanted.clear()
            self._told.clear()
            self._release_unused()
            self._past.clear()
            self._pools.clear()
            if self._kept is not None:
                self._kept.remove()
                self._kept = None

    # --- pools ------------------------------------------------------------------------------------------------------------

    async def set_pool(self, pool: Pool) -> None:
        servers.addresses(pool)
        servers.parameters(pool, "")  # ValueError is for who tells it
        before = self._pools.get(pool.name) or Pool(pool.name)
        self._pools[pool.name] = pool
        await self._udp.set_pool(pool)
        await self._relay(pool.name, pool)
        if _manner(before) != _manner(pool) and self._used(pool.name):
            await self._apply()
        else:
            await self._set_servers(pool.name)
        self._relays.close_unused(pool.name, pool)

    async def drop_pool(self, name: str) -> None:
        await self._udp.drop_pool(name)
        if self._pools.pop(name, None):
            await self._relay(name, Pool(name))
            await self._set_servers(name)
            self._relays.close_unused(name, None)

    async def _relay(self, name: str, pool: Pool) -> None:
        instead = await self._relays.tell(pool)
        if instead is not None:
            self._pools[instead.name] = instead
        else:
            self._pools.pop(servers.relay_name(name), None)

    def _used(self, pool: str) -> bool:
        return self._version != self._reached or (self._current is not None and pool in self._current.uses)

    async def _set_servers(self, pool: str) -> None:
        """Tell the HAProxy that is, even while another one starts; that one is told before it is asked for anything else."""
        self._late.update((pool, servers.relay_name(pool)))
        if self._current is None:
            async with self._changing:  # the first may be starting
                pass
        try:
            async with self._telling:
                await self._tell(self._current, (pool, servers.relay_name(pool)))
        except OSError as error:
            LOG.warning("%s; starting another", error)
            await self._apply()

    async def _tell(self, one: Generation | None, pools: Iterable[str]) -> None:
        """What servers there are now."""
        if one is None:
            return
        for pool in pools:
            await one.set_servers(pool, servers.addresses(self._pools.get(pool) or Pool(pool)))
        if one.retired and not one.tidying:
            one.tidying = True
            self._spawn(self._tidy(one))

    # --- fronts -----------------------------------------------------------------------------------------------------------

    async def set_front(self, front: Front) -> None:
        if isinstance(front, Forward) and front.transport == "UDP":
            await self._drop(front.name)
            await self._udp.set_front(front)
            return
        await self._udp.drop_front(front.name)
        before = self._wanted.get(front.name)
        if before is None or before[0] != front:
            add(front, Listener(0), Sections("", self._pools))  # ValueError is for who tells it
            held = listeners.hold(front, str(self._folder), before[1] if before else None)
            self._open.update(held.sockets)
            self._wanted[front.name] = (front, held)
            self._version += 1
        try:
            await self._apply(change=False)
        except OSError:
            _restore(self._wanted, front.name, front, self._told.get(front.name))
            self._release_unused()
            raise
        if said := self._refused.pop(front.name, ""):
            raise ValueError(said)

    async def drop_front(self, name: str) -> None:
        await self._udp.drop_front(name)
        await self._drop(name)

    async def _drop(self, name: str) -> None:
        if self._wanted.pop(name, None):
            await self._apply()
            for each in (front_name(name), inner_name(name)):
                self._past.pop(each, None)

    async def _apply(self, *, change: bool = True) -> None:
        """Bring what is wanted about. Whoever comes while that is under way waits for the next, and all of them share it."""
        self._version += change
        version = self._version
        async with self._changing:
            if self._reached >= version or self._stopped:
                return
            await self._clock.sleep(0)  # whoever is told at the same time
            await self._renew()

    async def _renew(self) -> None:
        """Another HAProxy in place of the one that is, on what is wanted now."""
        version, fronts = self._version, dict(self._wanted)
        try:
            following = await self._start(fronts)
        except Refused as error:
            LOG.warning("%s", error)
            if not await self._put_back(fronts):
                raise OSError(str(error)) from error
            following = await self._start(fronts)
        async with self._telling:
            try:
                await self._tell(following, list(self._late))
                if following and self._current:
                    await self._hand_over(self._current, following)
            except OSError:
                if following is not None:
                    following.kill()
                    await following.ended()
                raise
            before, self._current = self._current, following
        self._reached, self._told = version, fronts
        if before is not None:
            for name, carried in counts.read(await before.retire()).items():
                self._past[name] = self._past.get(name, Counts()) + carried
            self._draining.add(before)
            self._spawn(self._drain(before))
        self._release_unused()
        if following is not None:
            self._spawn(self._watch(following))

    async def _hand_over(self, before: Generation, following: Generation) -> None:
        try:
            await following.remember(before)
        except ConnectionResetError as error:  # the one before has died, and its memory with it
            LOG.info("%s", error)

    async def _start(self, fronts: Mapping[str, tuple[Front, Held]]) -> Generation | None:
        if not fronts:
            return None
        self._late.clear()
        addresses = {name: servers.addresses(pool) for name, pool in self._pools.items()}
        return await Generation.start(self._path, self._next_folder(), self._maker(fronts), _sockets(fronts), addresses)

    def _next_folder(self) -> Path:
        return self._folder / f"g{next(self._numbers)}"

    def _maker(self, fronts: Mapping[str, tuple[Front, Held]]) -> Callable[[str, int], Configuration]:
        pools = dict(self._pools)
        told = [front for front, _ in fronts.values()]
        held = {name: held.listener for name, (_, held) in fronts.items()}
        connections = _connections(len(fronts))
        return lambda folder, control: render(told, pools, held, folder, control, connections)

    async def _put_back(self, fronts: dict[str, tuple[Front, Held]]) -> bool:
        """Of the fronts that are new, find those that HAProxy does not take, and have them as they were; whether there are any."""
        found = False
        for name, (front, held) in list(fronts.items()):
            before = self._told.get(name)
            if before and before[0] == front:
                continue
            alone = {name: (front, held)}
            said = await refusal(self._path, self._next_folder(), self._maker(alone), _sockets(alone))
            if said:
                found = True
                self._refused[name] = said
                for where in (fronts, self._wanted):
                    _restore(where, name, front, before)
        return found

    def _release_unused(self) -> None:
        used = {*_sockets(self._told), *_sockets(self._wanted)}
        unused = self._open - used
        self._open &= used
        listeners.release(list(unused))

    # --- what goes on by itself --------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, one: Generation) -> None:
        """Start another where one has died."""
        await one.process.wait()
        for pause in itertools.chain(RESTART_AFTER, itertools.repeat(RESTART_AFTER[-1])):
            await self._clock.sleep(pause)
            async with self._changing:
                if self._stopped or self._current is not one:
                    return
                LOG.warning("haproxy has ended (%s); starting another", one.process.returncode)
                try:
                    await self._renew()
                    return
                except OSError as error:
                    LOG.warning("%s", error)

    async def _drain(self, one: Generation) -> None:
        """Wait until an old one has done what it had begun. One without connections ends at once, and with it those that it has accepted and
        not begun with: so it is held for a moment."""
        await self._clock.sleep(LINGER)
        one.let_go()
        await one.ended()
        self._draining.discard(one)

    async def _tidy(self, one: Generation) -> None:
        """Remove servers that take no traffic as soon as they carry none."""
        with contextlib.suppress(OSError):
            left = True
            while left:
                await self._clock.sleep(REMOVE_EVERY)
                left = await one.remove_retired()
        one.tidying = False

    # --- counters ---------------------------------------------------------------------------------------------------------

    def counters(self) -> Mapping[str, FrontCounters]:
        """HAProxy is asked at once, in less than a millisecond."""
        now = counts.read(self._current.statistics()) if self._current else {}
        carried = [now, self._past]

        def summed(name: str) -> Counts | None:
            found = [one[name] for one in carried if name in one]
            return sum(found, Counts()) if found else None

        own = {
            name: counts.front(summed(front_name(name)), summed(inner_name(name)) if isinstance(front, Edge) else None)
            for name, (front, _) in self._told.items()
        }
        return {**self._udp.counters(), **own}


def _sockets(fronts: Mapping[str, tuple[Front, Held]]) -> list[socket.socket]:
    return [one for _, held in fronts.values() for one in held.sockets]


def _restore(fronts: dict[str, tuple[Front, Held]], name: str, front: Front, before: tuple[Front, Held] | None) -> None:
    """Have a front as it was, unless it was told anew in between."""
    if name not in fronts or fronts[name][0] != front:
        return
    if before is None:
        del fronts[name]
    else:
        fronts[name] = before


def _manner(pool: Pool) -> Pool:
    """All of a pool that is configuration."""
    return dataclasses.replace(pool, endpoints=())


def _connections(fronts: int) -> int:
    """How many at once: HAProxy needs two descriptors for each, and some for every front."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(100, min(MOST_CONNECTIONS, (hard - 4 * fronts) // 2 - 100))
