"""The cloud-controller-manager: a provider and the manager that runs the controllers on it.

The provider is started when the controllers are about to start (with leader election: once this one leads) and closed after they have
stopped. Controllers find in their settings `provider` (started and guarded), each part that it has by its name (`guard.PARTS`), and
`cluster_name`. A cloud that cannot be reached at the start is tried again, with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pilothouse.client.interface import Transport
from pilothouse.client.reconcile.context import ControllerContext, Shared
from pilothouse.client.reconcile.credentials import TransportFactory
from pilothouse.client.reconcile.entries import Program
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.manager import ControllerManager, Options, Preparations
from pilothouse.clock import Clock
from pilothouse.cloud.guard import PARTS, Guarded, Limits
from pilothouse.cloud.provider import CloudError, Measured, Provider, Surroundings
from pilothouse.cloud.registry import PROGRAM

log = logging.getLogger(__name__)

#: What the cluster is called at the cloud, where nobody says otherwise (`--cluster-name`).
CLUSTER = "kubernetes"
#: Seconds before a provider that could not start is started again: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


def make_manager(
    provider: Provider,
    make: TransportFactory | Transport,
    clock: Clock,
    options: Options | None = None,
    account_transport: Callable[[str], Transport] | None = None,
    *,
    limits: Limits | None = None,
    program: Program = PROGRAM,
) -> ControllerManager:
    """The manager of the cloud's controllers; its arguments are those of a ControllerManager."""
    options = options or Options()
    options = replace(options, settings={"cluster_name": CLUSTER, **options.settings})
    guarded = Guarded(provider, clock, limits)

    @asynccontextmanager
    async def prepare(shared: Shared) -> AsyncIterator[Preparations]:
        async with started(guarded, shared, str(options.settings["cluster_name"])):
            own = provider.metrics() if isinstance(provider, Measured) else ()
            yield Preparations(_settings(guarded), (*guarded.measures.all(), *own))

    return ControllerManager(program, make, clock, options, account_transport, prepare)


@asynccontextmanager
async def started(provider: Provider, shared: Shared, cluster: str) -> AsyncIterator[None]:
    """Start a provider on the shared caches, which somebody follows meanwhile, and close it in the end."""
    name = f"{provider.name}-cloud-provider"  # as whom it tells of events
    context = ControllerContext(name, PROGRAM.component, shared, shared.transport, {})
    telling = asyncio.create_task(context.recorder.run())
    try:
        await _start(provider, context, cluster)
        yield
    finally:
        await provider.close()
        context.close()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _start(provider: Provider, context: ControllerContext, cluster: str) -> None:
    """Start it, and wait until the caches that it asked for are complete."""
    caches: list[Cache] = []

    def cache(kind: Kind) -> Cache:
        caches.append(context.cache(kind))
        return caches[-1]

    pause = FIRST_PAUSE
    while True:
        try:
            await provider.start(Surroundings(context.clock, cluster, cache, context.api, context.event))
            break
        except (CloudError, OSError) as error:
            log.warning("cloud provider %s: %s; trying again in %g s", provider.name, error, pause)
        await provider.close()
        while caches:
            context.release(caches.pop())
        await context.clock.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 2)
    await context.synced(caches)


def _settings(provider: Guarded) -> Mapping[str, Any]:
    return {"provider": provider, **{part: getattr(provider, part)() for part in PARTS}}
