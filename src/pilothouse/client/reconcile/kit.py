"""What every controller is made of: caches to read, an API to write to, a queue of keys, and one function, `sync`.

A controller follows caches; whatever changes in them puts the keys of the objects concerned into its queue; workers take a key
and call `sync`, which looks at the whole present state (never at the event) and does what is missing. A `sync` that fails is tried
again later, with growing pauses. So it does not matter which events were missed, merged or repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pilothouse.api.errors import StatusError
from pilothouse.client.metrics import Counter, Gauge, Histogram
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.objects import Obj, key
from pilothouse.client.workqueue import BASE_DELAY, MAX_DELAY
from pilothouse.clock import Clock

log = logging.getLogger("pilothouse.controllers")

#: Called with the object before and after; None where there was or is none.
Handler = Callable[[Obj | None, Obj | None], None]


class TryAgain(Exception):
    """A sync that could not do everything; what it met was reported already."""


class Failure(Exception):
    """Something outside of the cluster failed, and may not the next time: told in one line, and tried again."""


class Cache(Protocol):
    """An informer as controllers see it. Objects are shared: never change them."""

    def get(self, namespace: str, name: str) -> Obj | None: ...

    def list(self, namespace: str = "") -> Iterable[Obj]: ...

    def indexed(self, index: str, value: str) -> Iterable[Obj]: ...

    def add_index(self, name: str, values: Callable[[Obj], Iterable[str]]) -> None: ...

    def add_handler(self, handler: Handler) -> None: ...


class Queue(Protocol):
    """Keys waiting for a worker. A key waits once however often it is added, and is never with two workers at a time."""

    def add(self, item: str) -> None: ...

    def add_after(self, item: str, seconds: float) -> None: ...

    def add_rate_limited(self, item: str) -> None: ...

    def forget(self, item: str) -> None: ...

    async def get(self) -> str: ...

    def done(self, item: str) -> None: ...


class Api(Protocol):
    """Requests with one controller's identity. Every method raises StatusError as the server answers it."""

    def under(self, manager: str) -> Api:
        """The same with writes recorded under another field manager."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj: ...

    async def list(self, kind: Kind, namespace: str = "", query: Mapping[str, str] | None = None) -> Obj: ...

    async def create(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj: ...

    async def update(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj: ...

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Any, how: str, subresource: str = "") -> Obj:
        """`how` is strategic, merge, json or apply."""

    async def delete(self, kind: Kind, namespace: str, name: str, options: Obj | None = None) -> None: ...

    async def delete_collection(self, kind: Kind, namespace: str, options: Obj | None = None) -> None: ...

    async def read(self, path: str, accept: str = "application/json", query: Mapping[str, str] | None = None) -> Any: ...


class Context(Protocol):
    """One controller's connections to the world."""

    clock: Clock
    api: Api
    options: Mapping[str, Any]

    def cache(self, kind: Kind) -> Cache:
        """The informer of a resource, shared by all controllers."""

    def metadata_cache(self, kind: Kind) -> Cache:
        """An informer of at least the metadata of a resource."""

    def release(self, cache: Cache) -> None:
        """Stop following what `metadata_cache` gave, where nobody else follows it."""

    async def synced(self, caches: Iterable[Cache]) -> None:
        """Wait until these hold everything that existed when they started."""

    def queue(self, first_pause: float = BASE_DELAY, longest_pause: float = MAX_DELAY) -> Queue:
        """A queue that makes a key wait so many seconds after its first failure, doubled with each, up to the longest."""

    def event(self, about: Obj, kind: Kind, type: str, reason: str, message: str) -> None:
        """Record an Event about an object; never fails and never waits."""


class Controller:
    """The frame. Subclasses name themselves, follow caches in `__init__` and define `sync`.

    Handlers are added last: they hear at once of what a cache holds already.
    """

    name: ClassVar[str]
    workers: int = 5
    #: Seconds that a key waits after its first failure, and at most.
    first_pause: ClassVar[float] = BASE_DELAY
    longest_pause: ClassVar[float] = MAX_DELAY

    def __init__(self, context: Context) -> None:
        self.context = context
        self.clock = context.clock
        self.api = context.api
        self.queue = context.queue(self.first_pause, self.longest_pause)
        #: What it measures beside its queue.
        self.metrics: Sequence[Counter | Gauge | Histogram] = ()
        self._caches: list[Cache] = []

    def cache(self, kind: Kind) -> Cache:
        """A cache that has to be complete before the first sync."""
        cache = self.context.cache(kind)
        self._caches.append(cache)
        return cache

    def enqueue(self, obj: Obj, delay: float = 0.0) -> None:
        if delay > 0:
            self.queue.add_after(key(obj), delay)
        else:
            self.queue.add(key(obj))

    def follow(self, cache: Cache) -> None:
        """Sync an object of this cache whenever it changes."""
        cache.add_handler(lambda old, new: self.enqueue(new or old or {}))

    async def sync(self, key: str) -> None:
        """Bring one object (by its key) to where it should be."""
        raise NotImplementedError

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Further tasks beside the workers."""
        return ()

    async def run(self) -> None:
        """Work until cancelled."""
        await self.context.synced(self._caches)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.workers):
                tasks.create_task(self._work())
            for loop in self.loops():
                tasks.create_task(loop)

    async def _work(self) -> None:
        while True:
            item = await self.queue.get()
            try:
                await self.sync(item)
            except (StatusError, OSError, TryAgain, Failure) as error:
                if not namespace_is_terminating(error):  # whatever it was will be gone soon
                    self._retry(item, error)
            except Exception:
                log.exception("%s: sync of %s failed", self.name, item)
                self.queue.add_rate_limited(item)
            else:
                self.queue.forget(item)
            finally:
                self.queue.done(item)

    def _retry(self, item: str, error: Exception) -> None:
        reason = error.reason if isinstance(error, StatusError) else ""
        expected = isinstance(error, TryAgain) or reason in ("Conflict", "NotFound", "AlreadyExists")
        log.log(logging.DEBUG if expected else logging.WARNING, "%s: %s: %s", self.name, item, error)
        self.queue.add_rate_limited(item)

    async def every(self, seconds: float) -> AsyncIterator[None]:
        """Ticks: one now, and one each so many seconds."""
        while True:
            yield
            await self.clock.sleep(seconds)


class RoundsController(Controller):
    """A controller that has nothing to hear of: it looks at everything, each `period` seconds. Subclasses define `round`."""

    workers = 0
    #: Seconds.
    period: float

    async def sync(self, key: str) -> None:
        """Nothing is queued."""

    async def round(self) -> None:
        raise NotImplementedError

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._rounds(),)

    async def _rounds(self) -> None:
        async for _ in self.every(self.period):
            try:
                await self.round()
            except (StatusError, OSError, Failure) as error:
                log.warning("%s: %s", self.name, error)


def is_not_found(error: BaseException) -> bool:
    return isinstance(error, StatusError) and error.code == 404


def is_conflict(error: BaseException) -> bool:
    return isinstance(error, StatusError) and error.reason == "Conflict"


def namespace_is_terminating(error: BaseException) -> bool:
    """Whether a creation was refused because its namespace is going: nothing to retry, nothing to report."""
    causes = (error.details or {}).get("causes") or () if isinstance(error, StatusError) else ()
    return any(c.get("reason") == "NamespaceTerminating" for c in causes)


async def gather(*work: Coroutine[Any, Any, None]) -> list[BaseException]:
    """Run together; the errors of those that failed."""
    results = await asyncio.gather(*work, return_exceptions=True)
    failed = [r for r in results if isinstance(r, BaseException)]
    for each in failed:
        if not isinstance(each, (StatusError, OSError)):
            raise each
    return failed
