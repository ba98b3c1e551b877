"""The pools that fronts use, kept at the endpoints of the Services that they stand for.

What changes in EndpointSlices or in a Service's ports concerns the pools of that Service only, and only those in use; changes that come
together are told to the engine together. A pool that the engine does not take is told again a little later.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.objects import Obj, key, split_key
from pilothouse.client.service_endpoints import ServiceEndpoints, families, port_of
from pilothouse.clock import Clock
from pilothouse.cloud.providers.local.plane import Plane
from pilothouse.dataplane.model import Endpoint, Pool, UpstreamTls

log = logging.getLogger(__name__)

#: Seconds after which a pool that was not taken is told again.
PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pool and the Service's port (by number) that it stands for."""

    name: str
    #: `namespace/name`.
    service: str
    port: int
    transport: str = "TCP"
    protocol: Literal["http1", "http2"] = "http1"
    tls: UpstreamTls | None = None
    affinity_seconds: int = 0


class Pools:
    """All pools in use. `run` brings changes to the engine; `use` waits until its own is there."""

    def __init__(self, plane: Plane, services: Cache, slices: Cache, nodes: Cache, clock: Clock) -> None:
        self._plane = plane
        self._services = services
        self._clock = clock
        self._endpoints = ServiceEndpoints(slices, nodes, self._changed)
        self._wanted: dict[str, Wanted] = {}
        #: By pool that the engine may have. One at a time tells of it, so that what was found out last is told last.
        self._locks: dict[str, asyncio.Lock] = {}
        self._by_service: dict[str, set[str]] = {}
        self._dirty: set[str] = set()
        self._news = asyncio.Event()
        services.add_handler(self._on_service)

    async def use(self, wanted: Wanted) -> None:
        """Have a pool, or have it otherwise. OSError if the engine cannot be started."""
        former = self._wanted.get(wanted.name)
        if former is not None and former.service != wanted.service:
            self._forget(former)
        self._wanted[wanted.name] = wanted
        self._by_service.setdefault(wanted.service, set()).add(wanted.name)
        await self._set(wanted.name)

    async def drop(self, name: str) -> None:
        """End a pool, if it is there."""
        wanted = self._wanted.pop(name, None)
        if wanted is not None:
            self._forget(wanted)
        if name in self._locks:
            await self._set(name)

    async def run(self) -> None:
        """Tell the engine what changes, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            dirty, self._dirty = self._dirty, set()
            await asyncio.gather(*(self._tell(name) for name in sorted(dirty)))

    async def _tell(self, name: str) -> None:
        try:
            await self._set(name)
        except OSError as error:
            log.warning("the endpoints of %s could not be told: %s; trying again", name, error)
            self._clock.call_later(PAUSE, lambda: self._mark({name}))
        except Exception:
            log.exception("the endpoints of %s could not be told", name)

    async def _set(self, name: str) -> None:
        """Let the engine have the pool as it is now, or not any more."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            wanted = self._wanted.get(name)
            if wanted is not None:
                await self._plane.set_pool(self._pool(wanted))
                return
            await self._plane.drop_pool(name)
            self._locks.pop(name, None)

    def _pool(self, wanted: Wanted) -> Pool:
        return Pool(wanted.name, self._found(wanted), wanted.protocol, wanted.tls, wanted.affinity_seconds)

    def _found(self, wanted: Wanted) -> tuple[Endpoint, ...]:
        service = self._services.get(*split_key(wanted.service))
        port = port_of(service, wanted.port, wanted.transport) if service is not None else None
        if service is None or port is None or service["spec"].get("type") == "ExternalName":
            return ()
        family = "IPv4" if "IPv4" in families(service) else "IPv6"
        targets = self._endpoints.of(wanted.service, port.get("name") or "", family)
        return tuple(Endpoint(*self._endpoints.reach(t)) for t in targets)

    def _on_service(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and _ways(old) == _ways(new):
            return
        self._changed(frozenset((key(new or old or {}),)))

    def _changed(self, services: frozenset[str]) -> None:
        for service in services:
            if names := self._by_service.get(service):
                self._mark(names)

    def _mark(self, names: set[str]) -> None:
        self._dirty |= names
        self._news.set()

    def _forget(self, wanted: Wanted) -> None:
        names = self._by_service.get(wanted.service, set())
        names.discard(wanted.name)
        if not names:
            self._by_service.pop(wanted.service, None)


def _ways(service: Obj) -> tuple[object, ...]:
    spec = service["spec"]
    return spec.get("type"), spec.get("ports"), spec.get("ipFamilies")
