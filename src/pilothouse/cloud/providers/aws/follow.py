"""Follow endpoints of Services whose pods are targets: what changed is brought to AWS soon after, and again where that fails.

Changes within a moment are one: a rollout changes endpoints often, and each change costs requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from pilothouse.client.workqueue import WorkQueue
from pilothouse.clock import Clock
from pilothouse.cloud.provider import CloudError, ImplementedElsewhere, RetryAfter, Throttled

log = logging.getLogger("pilothouse.cloud.aws")

#: Seconds in which changes are gathered, and between tries at least.
GATHERED, AGAIN = 1.0, 5.0
WORKERS = 4


class Follower:
    """Whoever follows has a name and is told (`again`) when endpoints of one of its Services have changed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue = WorkQueue(clock)
        self._again: dict[str, Callable[[], Awaitable[None]]] = {}
        self._services: dict[str, frozenset[str]] = {}
        self._by_service: dict[str, set[str]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, name: str, services: Iterable[str], again: Callable[[], Awaitable[None]]) -> None:
        """From now on; in place of what this name followed before."""
        self.leave(name)
        self._again[name] = again
        self._services[name] = frozenset(services)
        for service in self._services[name]:
            self._by_service.setdefault(service, set()).add(name)

    def leave(self, name: str) -> None:
        self._again.pop(name, None)
        for service in self._services.pop(name, ()):
            names = self._by_service[service]
            names.discard(name)
            if not names:
                del self._by_service[service]

    def follows(self, name: str, again: Callable[[], Awaitable[None]]) -> bool:
        """Whether this is still what a name is told by."""
        return self._again.get(name) is again

    def soon(self, name: str, seconds: float) -> None:
        """Tell it in so many seconds, whatever happens."""
        self._queue.add_after(name, seconds)

    def changed(self, services: Iterable[str]) -> None:
        for service in services:
            for name in self._by_service.get(service, ()):
                self._queue.add_after(name, GATHERED)

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                again = self._again.get(name)
                if again is not None:
                    await again()
            except ImplementedElsewhere:
                self.leave(name)
            except CloudError as error:
                log.warning("targets of %s: %s", name, error)
                self._queue.add_after(name, max(AGAIN, error.seconds if isinstance(error, (Throttled, RetryAfter)) else 0.0))
            except Exception:
                log.exception("targets of %s", name)
                self._queue.add_after(name, AGAIN)
            finally:
                self._queue.done(name)
