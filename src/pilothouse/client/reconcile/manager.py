"""Runs the selected controllers of a component such as kube-controller-manager, one instance of it at a time.

Each controller runs on its own: one that fails is started again after a pause, and no other notices. Caches are shared; identities
are not, where `use_service_account_credentials` is set. With leader election the controllers run only while the Lease
`kube-system/<component>` is held, and everything is given up when it is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.events import default_identity
from pilothouse.client.interface import Transport
from pilothouse.client.metrics import Counter, Gauge, Histogram, text
from pilothouse.client.reconcile.context import ControllerContext, Shared
from pilothouse.client.reconcile.credentials import AccountTransport, TransportFactory
from pilothouse.client.reconcile.entries import Entry, Program, can_run, select
from pilothouse.client.reconcile.kit import Controller
from pilothouse.client.reconcile.requests import Requests
from pilothouse.clock import Clock

log = logging.getLogger(__name__)

#: Seconds before a controller that failed is started again: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """The manager's flags. `settings` are what single controllers ask for, such as `root_ca` (PEM text)."""

    controllers: tuple[str, ...] = ("*",)
    #: Workers by controller name, where they are not its own default.
    concurrency: Mapping[str, int] = field(default_factory=dict)
    leader_elect: bool = True
    identity: str = ""
    use_service_account_credentials: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preparations:
    """What a component has made for its controllers: further settings, and what it measures."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Counter | Gauge | Histogram] = ()


#: Makes what all controllers need, when they are about to start, and takes it down after they have stopped.
Prepare = Callable[[Shared], AbstractAsyncContextManager[Preparations]]


@asynccontextmanager
async def _nothing(shared: Shared) -> AsyncIterator[Preparations]:
    yield Preparations()


class ControllerManager:
    """`make(token)` gives a transport with a bearer token, `make(None)` one with the manager's own identity; a transport serves for both.

    `account_transport(name)`, if given, is another way to act as a ServiceAccount of kube-system than by its tokens: in one process
    with the hub identities need no proof. `prepare` runs around the controllers, while the shared caches are followed.
    """

    def __init__(
        self,
        program: Program,
        make: TransportFactory | Transport,
        clock: Clock,
        options: Options | None = None,
        account_transport: Callable[[str], Transport] | None = None,
        prepare: Prepare = _nothing,
    ) -> None:
        self.component = program.component
        self._make: TransportFactory = make if callable(make) else lambda token: make
        self._clock = clock
        self._options = options or Options()
        self._account_transport = account_transport
        self._prepare = prepare
        self._prepared = Preparations()
        self._selected = select(self._options.controllers, program.entries)
        #: By controller name: what is wrong with it, "" if nothing is.
        self.health: dict[str, str] = {}
        self._running: dict[str, Controller] = {}
        self._shared: Shared | None = None
        self._leads = False

    def checks(self) -> Mapping[str, bool]:
        """Whether each controller that was started is well: the parts of /healthz."""
        return {name: not fault for name, fault in self.health.items()}

    def metrics(self) -> str:
        """The text of /metrics."""
        running = Gauge(
            "running_managed_controllers",
            "Whether a controller runs.",
            ("manager", "name"),
            lambda: [((self.component, name), float(well)) for name, well in self.checks().items()],
        )
        leads = Gauge(
            "leader_election_master_status",
            "Whether this one leads.",
            ("name",),
            lambda: [((self.component,), float(self._leads))],
        )
        of_controllers = (m for name in sorted(self._running) for m in self._running[name].metrics)
        of_queues = self._shared.queues.metrics() if self._shared else ()
        return text([running, leads, *of_queues, *self._prepared.metrics, *of_controllers])

    async def run(self) -> None:
        """Work until cancelled (or until leadership is lost)."""
        transport = self._make(None)
        try:
            shared = self._shared = Shared(transport, self._clock)
            if self._options.leader_elect:
                await shared.lead(
                    "kube-system", self.component, self._options.identity or default_identity(), lambda: self._run_all(shared)
                )
            else:
                await self._run_all(shared)
        finally:
            await transport.close()

    async def _run_all(self, shared: Shared) -> None:
        self._leads = True
        async with asyncio.TaskGroup() as following:
            following.create_task(shared.run())
            async with self._prepare(shared) as self._prepared:
                settings = {**self._options.settings, **self._prepared.settings}
                async with asyncio.TaskGroup() as tasks:
                    for entry in self._selected:
                        if can_run(entry, settings):
                            tasks.create_task(self._supervise(entry, shared, settings))

    async def _supervise(self, entry: Entry, shared: Shared, settings: Mapping[str, Any]) -> None:
        """Run one controller, and again whenever it fails."""
        transport = self._transport_of(entry, shared)
        pause = FIRST_PAUSE
        try:
            await self._clock.sleep(entry.start_after)
            while True:
                context = ControllerContext(entry.component or entry.name, self.component, shared, transport, settings)
                started = self._clock.monotonic()
                try:
                    await self._run_one(entry, context)
                except Exception as error:
                    log.exception("%s failed; it will be started again", entry.name)
                    self.health[entry.name] = _told(error)
                finally:
                    context.close()
                if self._clock.monotonic() - started > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        finally:
            if transport is not shared.transport:
                await transport.close()

    async def _run_one(self, entry: Entry, context: ControllerContext) -> None:
        controller = entry.load()(context)
        controller.workers = self._options.concurrency.get(entry.name, controller.workers)
        self.health[entry.name] = ""
        self._running[entry.name] = controller
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(context.recorder.run())
            tasks.create_task(controller.run())

    def _transport_of(self, entry: Entry, shared: Shared) -> Transport:
        if not entry.account or not self._options.use_service_account_credentials:
            return shared.transport
        if self._account_transport is not None:
            return self._account_transport(entry.account)
        return AccountTransport(entry.account, Requests(shared.transport, self.component), self._make, self._clock)


def _told(error: BaseException) -> str:
    """In one line, what was at the bottom of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
