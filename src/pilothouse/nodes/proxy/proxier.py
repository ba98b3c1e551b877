"""The proxier: follows Services, their endpoints and nodes, and tells a backend the ways of each Service that changed.

What changes while the backend is at work is taken together next time. A Service's change costs its own endpoints; nothing is told whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.client.service_endpoints import ServiceEndpoints, Target, service_of
from pilothouse.clock import Clock, parse_rfc3339
from pilothouse.nodes.proxy import ways
from pilothouse.nodes.proxy.backend import Backend
from pilothouse.nodes.proxy.health import HealthChecks, node_address
from pilothouse.nodes.proxy.metrics import ProxyMetrics

log = logging.getLogger("pilothouse.nodes")

Obj = dict[str, Any]

#: What could not be done, such as to take a port that another program has, is tried again after so long.
RETRY_SECONDS = 30.0
CHECK_SECONDS = 30.0
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class Proxier:
    """`run` until cancelled. Whoever started the backend stops it.

    `elsewhere` are endpoints that this machine reaches at other addresses than they tell: the API server's, in one process with it. Where another
    cluster serves the same addresses on this machine (`alone` is False), that some are taken is no news.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        backend: Backend,
        elsewhere: Mapping[ways.Reached, ways.Reached] | None = None,
        alone: bool = True,
    ) -> None:
        self._clock = clock
        self._elsewhere = elsewhere or {}
        self._alone = alone
        self.backend = backend
        self.metrics = ProxyMetrics(clock, backend.name)
        self._informers = InformerFactory(transport, clock)
        self._services = self._informers.informer("/api/v1/services")
        self._slices = self._informers.informer("/apis/discovery.k8s.io/v1/endpointslices")
        self._nodes = self._informers.informer("/api/v1/nodes")
        self._endpoints = ServiceEndpoints(self._slices, self._nodes, self._endpoints_changed)
        self._services.add_handler(self._service_changed)
        self._nodes.add_handler(self._node_changed)
        self._slices.add_handler(self._slice_changed)
        self._health = HealthChecks(self._nodes)
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        #: Services whose ways depend on addresses of nodes.
        self._local: set[str] = set()
        self._known: dict[str, tuple[ways.Way, ...]] = {}
        self._failed: dict[str, str] = {}
        self._triggered: dict[str, float] = {}
        self.synced = False

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informers.run())
                group.create_task(self._check_forever())
                for informer in (self._services, self._slices, self._nodes):
                    await informer.wait_synced()
                self._wake.set()  # also where there is nothing to do
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    await self._sync()
                    self.synced = True
        finally:
            await self._health.close()

    async def _check_forever(self) -> None:
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            try:
                await self.backend.check()
            except OSError as error:
                log.warning("%s: %s", self.backend.name, error.strerror or error)
                self.metrics.failures.add()

    # --- what changes --------------------------------------------------------------------------------------------------------------

    def _touch(self, *services: str) -> None:
        if services:
            self._dirty.update(services)
            self.metrics.queued()
            self._wake.set()

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and _same(old, new):
            return
        meta = (new or old or {})["metadata"]
        self.metrics.service_changes.add()
        self._touch(f"{meta['namespace']}/{meta['name']}")

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        """When that happened which the slice was written for; what was before us does not count."""
        told = _triggered_at(new)
        if new is None or not told or not self.synced or told == _triggered_at(old):
            return
        try:
            self._triggered.setdefault(service_of(new), parse_rfc3339(told))
        except ValueError:
            log.info("EndpointSlice %s: %r is no time", new["metadata"]["name"], told)

    def _endpoints_changed(self, services: frozenset[str]) -> None:
        self.metrics.endpoint_changes.add(by=len(services))
        self._touch(*services)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if node_address(old) != node_address(new):
            self._touch(*self._local)

    # --- what is done --------------------------------------------------------------------------------------------------------------

    async def _sync(self) -> None:
        dirty, self._dirty = self._dirty, set()
        began = self._clock.monotonic()
        changes = {key: found for key in sorted(dirty) if (found := self._ways(key)) != self._known.get(key, ())}
        if changes:
            problems = await self.backend.apply(changes)
            for key, found in changes.items():
                self._remember(key, found, problems.get(key, ""))
        for key in dirty:
            await self._check_health(key)
            if (since := self._triggered.pop(key, None)) is not None:
                self.metrics.programming.observe(max(0.0, self._clock.now() - since))
        self.metrics.synced(self._clock.monotonic() - began)

    def _remember(self, key: str, found: tuple[ways.Way, ...], problem: str) -> None:
        self._known.pop(key, None)
        if problem:
            known = not self._alone or self._failed.get(key) == problem
            log.log(logging.INFO if known else logging.WARNING, "Service %s: %s", key, problem)
            self.metrics.failures.add()
            self._clock.call_later(RETRY_SECONDS, lambda: self._touch(key))
            self._failed[key] = problem
            return
        self._failed.pop(key, None)
        if found:
            self._known[key] = found

    def _reach(self, target: Target) -> ways.Reached:
        return self._elsewhere.get((target.address, target.port)) or self._endpoints.reach(target)

    def _ways(self, key: str) -> tuple[ways.Way, ...]:
        service = self._services.get(*key.split("/"))
        self._local.discard(key)
        if service is None:
            return ()
        if (others := ways.refused(service)) and key not in self._known:
            log.warning("Service %s: %s is not carried", key, ", ".join(sorted(set(others))))
        if ways.is_local(service):
            self._local.add(key)
        return ways.ways(service, self._endpoints.all(key), self._reach, self._address_of)

    def _address_of(self, node: str) -> str:
        return node_address(self._nodes.get("", node))

    async def _check_health(self, key: str) -> None:
        service = self._services.get(*key.split("/"))
        check = ways.health_check(service, self._endpoints.all(key)) if service is not None else None
        await self._health.set(key, check)


def _triggered_at(slice: Obj | None) -> str:
    return ((slice or {}).get("metadata", {}).get("annotations") or {}).get(TRIGGER_TIME) or ""


def _same(old: Obj, new: Obj) -> bool:
    """Whether the ways are the same: status other than addresses, and annotations, do not count."""
    return (
        old["spec"] == new["spec"]
        and old["metadata"].get("labels") == new["metadata"].get("labels")
        and (old.get("status") or {}).get("loadBalancer") == (new.get("status") or {}).get("loadBalancer")
    )
