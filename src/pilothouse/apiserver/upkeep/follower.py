"""One task that looks at objects whenever something about them has changed: a work queue for the hub's own use.

The hub needs no informers: its caches tell of every change at once. Names wait in order, each once, however often they are noted.
"""

from __future__ import annotations

import asyncio
import logging

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.interface import Hub

log = logging.getLogger(__name__)


class Follower:
    """Calls `look` for each name that was noted. Subclasses say what they look at."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._names: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Subscribe to caches, and note what is there."""

    async def look(self, name: str) -> None:
        """Put right what is wrong about one object."""

    def note(self, name: str) -> None:
        self._names[name] = None
        self._wake.set()

    def start(self) -> None:
        self.follow()
        self._task = asyncio.create_task(self._run(), name=type(self).__name__)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._names:
                name = next(iter(self._names))
                del self._names[name]
                await self._look(name)

    async def _look(self, name: str) -> None:
        try:
            await self.look(name)
        except StatusError as error:
            if error.code not in (404, 409):  # somebody was faster: the event of their write brings the name back here
                log.warning("%s: %s: %s", type(self).__name__, name, error)
        except Exception:
            log.exception("%s: %s", type(self).__name__, name)
