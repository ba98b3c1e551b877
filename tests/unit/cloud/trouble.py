"""A manager that is stopped, or whose cloud fails, at one call to the cloud after the other, while a story is told.

Each call is hit in four ways: the manager is stopped before it takes effect and after; it fails before it takes effect, and after (its answer is
lost).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from pilothouse.cloud.provider import CloudError
from pilothouse.testing.cloud import Faults

from .world import World

WAYS = ("stopped before", "stopped after", "failed before", "failed after")
#: Virtual seconds in which everything has to come about: the longest pause is five minutes.
LIMIT = 1200.0


class Story(Protocol):
    """What happens to a cluster and what is to come of it, with these controllers. In the end nothing is left at the cloud, nor of the story."""

    controllers: tuple[str, ...]
    settings: dict[str, Any]

    async def tell(self, cluster: World) -> None: ...


@asynccontextmanager
async def troubled(cluster: World, *controllers: str, **settings: Any) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A manager that is started again whenever somebody calls what this gives."""
    stopped = asyncio.Event()

    async def start_again() -> None:
        while True:
            await stopped.wait()
            stopped.clear()
            await cluster.stop()
            cluster.begin(*controllers, **settings)

    supervisor = asyncio.create_task(start_again())
    cluster.begin(*controllers, **settings)

    async def stop() -> None:
        stopped.set()
        await asyncio.Event().wait()  # whoever called goes with the manager

    try:
        yield stop
    finally:
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)


async def play(cluster: World, story: Story, number: int = 0, way: str = "") -> int:
    """A story with trouble at the call of this number; how many calls there were."""
    faults = cluster.provider.faults = Faults(cluster.clock)
    async with troubled(cluster, *story.controllers, **story.settings) as stop:

        async def watch(call: int, name: str, done: bool) -> None:
            if call == number and way == ("stopped after" if done else "stopped before"):
                await stop()

        faults.watcher = watch
        if way.startswith("failed"):
            faults.at(number, CloudError("broken"), done=way == "failed after")
        await story.tell(cluster)
        await cluster.settle(20)
        assert cluster.left() == {}
    await cluster.stop()
    return len(faults.made)


async def play_with_trouble_everywhere(cluster: World, story: Story, way: str) -> None:
    """As often as there are calls, each time with trouble at another one."""
    calls = await play(cluster, story)
    for number in range(1, calls + 1):
        try:
            await play(cluster, story, number, way)
        except TimeoutError as error:
            raise AssertionError(f"{way} call {number} of {calls}: {error}") from error
