"""The composition root: builds any set of components into one process, started and stopped in order.

Nothing else knows all components. `ApiHub` makes the hub from its settings; `Cluster` adds the spokes around it: controllers, scheduler
and simulated nodes, in the same process through the in-process transport, each with its own identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.apiserver import pki
from pilothouse.apiserver.assembly import Settings, make_pki, server_options
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.interface import User
from pilothouse.apiserver.server import ApiServer
from pilothouse.client.interface import Transport
from pilothouse.clock import Clock, SystemClock
from pilothouse.store.interface import Store
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pilothouse.cloud.provider import Provider
    from pilothouse.nodes.access import Access, ServiceAccess
    from pilothouse.scheduler.config import SchedulerConfig

log = logging.getLogger(__name__)

AUTHENTICATED = "system:authenticated"
#: Tasks whose health componentstatuses tells, and under which name.
_COMPONENTS = {"controllers": "controller-manager", "scheduler": "scheduler"}


class ApiHub:
    """An API server with the files that belong to it.

    `data_dir` is where the embedded store and, without a `cert_dir` of their own, keys and certificates are; None: the store is in memory and
    they are in a temporary directory. `store` takes the embedded store's place. ValueError, in one line, for settings
    that cannot be; OSError for files that cannot be read.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        data_dir: Path | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.settings = settings or Settings()
        if self.settings.cert_dir is None:
            self.settings = replace(self.settings, cert_dir=(data_dir or self._temporary_folder()) / "pki")
        if store is None:
            store = SqliteStore(data_dir, self.clock) if data_dir else MemoryStore(self.clock)
        self.pki = make_pki(self.settings, self.clock.now())
        self.server = ApiServer(server_options(store, self.settings, self.clock, self.pki))

    def _temporary_folder(self) -> Path:
        """A folder for keys and certificates that goes with the hub, or with the process."""
        folder = tempfile.mkdtemp(prefix="pilothouse-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def transport(self, user: str, *groups: str, agent: str = "pilothouse") -> Transport:
        """A way in for a component of this process, as this user."""
        return InProcessTransport(self.server.chain, User(user, (*groups, AUTHENTICATED)), agent)  # type: ignore[return-value]

    def account_transport(self, name: str) -> Transport:
        """A way in as a service account of kube-system."""
        groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system")
        return self.transport(f"system:serviceaccount:kube-system:{name}", *groups, agent="kube-controller-manager")

    @property
    def url(self) -> str:
        return f"https://{self.settings.bind_address}:{self.server.port}"

    def write_kubeconfig(self, path: Path) -> None:
        """The administrator's kubeconfig, mode 0600."""
        certificate, key = self.pki.certificate("admin").read_bytes(), self.pki.key("admin").read_bytes()
        pki.write_kubeconfig(path, self.url, self.pki.ca.read_bytes(), certificate=certificate, key=key)


@dataclass(slots=True)
class Spokes:
    """Which components run beside the hub. `nodes` is how many simulated ones; with `serve` their pods answer, which takes real time."""

    controllers: bool = True
    scheduler: bool = True
    nodes: int = 1
    startup_delay: float = 0.0
    serve: bool = False
    #: A KubeSchedulerConfiguration and files of plugins, read again whenever they are written.
    scheduler_config: Path | None = None
    scheduler_plugins: tuple[Path, ...] = ()
    #: The cloud that load balancers and gateways are from, by its provider's name, and its configuration's text; "": there is none.
    cloud: str = ""
    cloud_config: str = ""
    #: Nodes wait for their cloud to say what they are.
    external_nodes: bool = False
    #: Services by name and by address on this machine; None: not.
    access: Access | None = None


class Cluster:
    """A hub with its spokes in one process and one event loop."""

    def __init__(self, hub: ApiHub, spokes: Spokes | None = None, provider: Provider | None = None) -> None:
        """`provider` is a cloud in the place of the one that the spokes name."""
        self.hub = hub
        self._spokes = spokes or Spokes()
        self._tasks: list[asyncio.Task[None]] = []
        self._scheduler_config: SchedulerConfig | None = None
        self._provider = provider
        self._ready = asyncio.Event()
        self.access: ServiceAccess | None = None

    @property
    def url(self) -> str:
        return self.hub.url

    async def start(self) -> None:
        """Start the hub, then the spokes. Returns when the API serves and the default namespace can take pods."""
        self._scheduler_config = self._load_scheduler_config()
        if self._provider is None and (self._spokes.cloud_config or self._spokes.cloud not in ("", "local")):
            self._provider = self._load_provider()  # what is wrong with it is told before anything has been started
        if self._spokes.access is not None:
            self.access = self._make_access(self._spokes.access)
        await self.hub.server.start()
        for name, work in self._work():
            self._tasks.append(asyncio.create_task(work, name=name))
            self._tasks[-1].add_done_callback(_report)
            if name in _COMPONENTS:
                self.hub.server.components[_COMPONENTS[name]] = partial(_problem, self._tasks[-1])
        if self._spokes.controllers:
            await self._wait_for_account()
        self._ready.set()

    def _work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        hub, clock = self.hub, self.hub.clock
        out: list[tuple[str, Coroutine[Any, Any, None]]] = []
        if self._spokes.controllers:
            from pilothouse.client.reconcile.manager import ControllerManager
            from pilothouse.client.reconcile.manager import Options as ManagerOptions
            from pilothouse.controllers.registry import PROGRAM

            settings = {
                "root_ca": hub.pki.ca.read_text(),
                "service_account_private_key": hub.pki.service_account_key.read_bytes(),
                "cluster_signing_cert": hub.pki.ca.read_bytes(),
                "cluster_signing_key": hub.pki.key("ca").read_bytes(),
            }
            manager = ControllerManager(
                PROGRAM,
                lambda token: hub.transport("system:kube-controller-manager", agent="kube-controller-manager"), clock,
                ManagerOptions(leader_elect=False, use_service_account_credentials=True, settings=settings),
                hub.account_transport,
            )  # fmt: skip
            out.append(("controllers", manager.run()))
        if self._spokes.scheduler:
            out += self._scheduler()
        if self._spokes.nodes:
            from pilothouse.nodes.provisioner import LocalProvisioner
            from pilothouse.nodes.simulated import NodeOptions, SimulatedNodes

            options = NodeOptions(
                count=self._spokes.nodes,
                startup_delay=self._spokes.startup_delay,
                serve=self._spokes.serve,
                external=self._spokes.external_nodes,
            )
            nodes = hub.transport("pilothouse:nodes", "system:masters", agent="pilothouse-nodes")
            out.append(("nodes", SimulatedNodes(nodes, clock, options).run()))
            out.append(("provisioner", LocalProvisioner(nodes, clock).run()))
        if self._spokes.cloud or self._provider is not None:
            out.append(("cloud", self._cloud()))
        if self.access is not None:
            out.append(("access", self._run_access(self.access)))
        return out

    def _make_access(self, wanted: Access) -> ServiceAccess:
        """OSError if its port is taken."""
        from pilothouse.nodes.access import ServiceAccess

        transport = self.hub.transport("pilothouse:nodes", "system:masters", agent="pilothouse-access")
        return ServiceAccess(transport, self.hub.clock, wanted, self.hub.settings.service_ranges[0], self._own_endpoint)

    def _own_endpoint(self) -> dict[tuple[str, int], tuple[str, int]]:
        """The Service `kubernetes` tells an address of this machine, at which a hub that listens on loopback is not found."""
        from pilothouse.apiserver.bootstrap.cluster import outside_address

        settings, port = self.hub.settings, self.hub.server.port
        told = outside_address(settings.advertise_address or settings.bind_address)
        return {(told, port): (settings.bind_address, port)} if settings.bind_address != "0.0.0.0" else {}

    async def _run_access(self, access: ServiceAccess) -> None:
        """After what a cluster's start is waited for."""
        try:
            await self._ready.wait()
            await access.run()
        finally:
            access.close()

    async def _cloud(self) -> None:
        """The cloud-controller-manager. It is loaded when the cluster is ready: nobody waits for a load balancer before."""
        await self._ready.wait()
        from pilothouse.client.reconcile.manager import Options
        from pilothouse.cloud.component import make_manager
        from pilothouse.cloud.guard import Limits

        hub, local = self.hub, self._spokes.cloud == "local"
        manager = make_manager(
            self._provider or self._load_provider(),
            hub.transport("system:cloud-controller-manager", "system:masters", agent="cloud-controller-manager"),
            hub.clock,
            Options(
                # On a store of their own there is one; several beside each other would each listen for the same Services.
                leader_elect=hub.settings.shared_store,
                use_service_account_credentials=True,
                concurrency={"service-lb-controller": 20} if local else {},
            ),
            hub.account_transport,
            limits=Limits(rate=1000, burst=1000) if local else None,  # this machine does not mind being asked
        )
        await manager.run()

    def _load_provider(self) -> Provider:
        if self._spokes.cloud == "local":  # there is no need to look through what is installed
            from pilothouse.cloud.providers.local import make

            return make(self._spokes.cloud_config, self.hub.clock)
        from pilothouse.cloud.provider import load

        return load(self._spokes.cloud, self._spokes.cloud_config, self.hub.clock)

    def _scheduler(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        from pilothouse.scheduler.scheduler import Scheduler

        hub, clock = self.hub, self.hub.clock
        scheduler = Scheduler(hub.transport("system:kube-scheduler", agent="kube-scheduler"), clock, self._scheduler_config)
        out = [("scheduler", scheduler.run())]
        config, files = self._spokes.scheduler_config, self._spokes.scheduler_plugins
        if config or files:
            from pilothouse.scheduler.reload import follow

            out.append(("scheduler-reload", follow(clock, config, files, scheduler.reconfigure)))
        return out

    def _load_scheduler_config(self) -> SchedulerConfig | None:
        """What the scheduler's files say (ValueError if they cannot be used): before anything has been started."""
        config, files = self._spokes.scheduler_config, self._spokes.scheduler_plugins
        if not config and not files:
            return None
        from pilothouse.scheduler.loading import load_config

        return load_config(config, files)

    async def _wait_for_account(self) -> None:
        cache = self.hub.server.cache("", "serviceaccounts")
        there = asyncio.Event()
        cache.subscribe(lambda type, obj, previous: there.set() if obj["metadata"]["name"] == "default" else None)
        while cache.get("default", "default") is None:
            there.clear()
            await there.wait()

    async def stop(self) -> None:
        """Stop the spokes, then the hub."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.server.stop()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()


def _problem(task: asyncio.Task[None]) -> str:
    """What a component that runs as this task has to tell of its health."""
    return f"{task.get_name()} has stopped" if task.done() else ""


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s stopped", task.get_name(), exc_info=task.exception())


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run an async main on uvloop."""
    import uvloop

    return uvloop.run(main())
