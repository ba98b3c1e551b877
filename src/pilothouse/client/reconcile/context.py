"""What connects controllers to `client/`: shared informers, and for each controller its own requests, events and queues."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.client.leaderelection import LeaderElector
from pilothouse.client.queuemetrics import QueueMetrics, Watched
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Api, Cache, Handler, Queue
from pilothouse.client.reconcile.objects import Obj
from pilothouse.client.reconcile.requests import Requests
from pilothouse.client.workqueue import BASE_DELAY, MAX_DELAY, WorkQueue
from pilothouse.clock import Clock

log = logging.getLogger(__name__)


class Shared:
    """What all controllers of a manager have in common."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self.transport = transport
        self.clock = clock
        self.queues = QueueMetrics(clock)
        self._informers = InformerFactory(transport, clock)
        self._users: Counter[str] = Counter()

    async def run(self) -> None:
        """Keep the caches up to date until cancelled."""
        await self._informers.run()

    async def lead(self, namespace: str, name: str, identity: str, work: Callable[[], Awaitable[None]]) -> None:
        await LeaderElector(self.transport, self.clock, namespace, name, identity).run(work)

    def acquire(self, kind: Kind) -> Informer:
        self._users[kind.path()] += 1
        return self._informers.informer(kind.path())

    def give_back(self, path: str) -> None:
        """Stop following what nobody uses any more."""
        self._users[path] -= 1
        if self._users[path] <= 0:
            del self._users[path]
            self._informers.drop(path)


class _GuardedCache:
    """A shared informer in one controller's hands: its handlers cannot hurt others, and leave with it."""

    def __init__(self, informer: Informer, owner: str) -> None:
        self.informer = informer
        self._owner = owner
        self._handlers: list[Handler] = []

    def get(self, namespace: str, name: str) -> Obj | None:
        return self.informer.get(namespace, name)

    def list(self, namespace: str = "") -> Iterable[Obj]:
        return self.informer.list(namespace)

    def indexed(self, index: str, value: str) -> Iterable[Obj]:
        return self.informer.indexed(index, value)

    def add_index(self, name: str, values: Callable[[Obj], Iterable[str]]) -> None:
        self.informer.add_index(name, values)

    def add_handler(self, handler: Handler) -> None:
        def guarded(old: Obj | None, new: Obj | None) -> None:
            try:
                handler(old, new)
            except Exception:
                log.exception("%s: a handler of %s failed", self._owner, self.informer.path)

        self._handlers.append(guarded)
        self.informer.add_handler(guarded)

    def close(self) -> None:
        for handler in self._handlers:
            self.informer.remove_handler(handler)
        self._handlers.clear()


class ControllerContext:
    """One controller's connections; `close` takes it out of everything shared. Its writes bear the field manager `manager`."""

    def __init__(self, name: str, manager: str, shared: Shared, transport: Transport, options: Mapping[str, Any]) -> None:
        self.clock: Clock = shared.clock
        self.api: Api = Requests(transport, manager)
        self.options = options
        self.recorder = EventRecorder(transport, shared.clock, name)
        self._name = name
        self._shared = shared
        self._caches: list[_GuardedCache] = []
        self._watched: list[Watched] = []

    def cache(self, kind: Kind) -> Cache:
        cache = _GuardedCache(self._shared.acquire(kind), self._name)
        self._caches.append(cache)
        return cache

    def metadata_cache(self, kind: Kind) -> Cache:
        """Whole objects: most resources that are followed for their metadata are followed by another controller as well."""
        return self.cache(kind)

    def release(self, cache: Cache) -> None:
        guarded = cast(_GuardedCache, cache)
        guarded.close()
        self._caches.remove(guarded)
        self._shared.give_back(guarded.informer.path)

    async def synced(self, caches: Iterable[Cache]) -> None:
        await asyncio.gather(*(cast(_GuardedCache, c).informer.wait_synced() for c in caches))

    def queue(self, first_pause: float = BASE_DELAY, longest_pause: float = MAX_DELAY) -> Queue:
        queue = WorkQueue(self.clock, first_pause, longest_pause)
        queue.watched = self._shared.queues.watch(self._name, queue)
        self._watched.append(queue.watched)
        return queue

    def event(self, about: Obj, kind: Kind, type: str, reason: str, message: str) -> None:
        typed = about if "kind" in about else {"apiVersion": kind.api_version, "kind": kind.kind, **about}
        self.recorder.record(typed, type, reason, message)

    def close(self) -> None:
        for cache in list(self._caches):
            self.release(cache)
        for watched in self._watched:
            self._shared.queues.forget(watched)
        self._watched.clear()
