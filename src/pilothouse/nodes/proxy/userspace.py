"""Ways by sockets of this process: forwards of the embedded engine, without any privilege.

A cluster IP is found at its twin (`client/loopback.py`), and with the privilege to add a local route at its own address too. A node port is one
socket on the loopback interface, which the network cannot reach, at whatever address: 127.0.0.1 or a node's twin. Where nodes serve by their own
endpoints (externalTrafficPolicy: Local) each such node's twin has a socket, and 127.0.0.1. A way without endpoints has none: who comes there is
refused, as kube-proxy does it.
"""

from __future__ import annotations

import ipaddress
import resource
from collections.abc import Iterable, Iterator, Mapping

from pilothouse.client import loopback
from pilothouse.dataplane.engine import Engine
from pilothouse.dataplane.model import Endpoint, Forward, Pool
from pilothouse.nodes.proxy.backend import Changes
from pilothouse.nodes.proxy.system import LocalRoutes, own_addresses
from pilothouse.nodes.proxy.ways import Way

#: Descriptors that a front takes, and that the rest of the process may need.
_DESCRIPTORS, _RESERVED = 1, 1024
_MOST_DESCRIPTORS = 65_536


class Userspace:
    """`routes` None: nothing outside of this process is changed. `nodeport_addresses`: the networks (CIDR) by which others may reach node ports."""

    name = "userspace"
    reaches_pods = False

    def __init__(
        self, engine: Engine, routes: LocalRoutes | None = None, service_range: str = "", nodeport_addresses: Iterable[str] = ()
    ) -> None:
        self._engine = engine
        self._routes = routes
        self._range = service_range
        self._open_to = tuple(ipaddress.ip_network(text) for text in nodeport_addresses)
        self._others: dict[str, str] = {}
        self._fronts: dict[str, dict[str, Forward]] = {}
        self._pools: dict[str, set[str]] = {}
        self._external: dict[str, set[str]] = {}
        self._count = self._most = 0
        self.reaches_services = False

    async def start(self) -> None:
        self._most = (_raise_limit() - _RESERVED) // _DESCRIPTORS
        if self._open_to:
            self._others = {name: a for name, a in own_addresses().items() if self._is_open(a)}
        await self._engine.start()
        if self._routes is not None:
            try:
                await self._routes.add(self._range)
                self.reaches_services = True
            except OSError:
                self._routes = None

    async def apply(self, changes: Changes) -> Mapping[str, str]:
        problems: dict[str, str] = {}
        for service, ways in changes.items():
            told = [str(e) for e in (*await self._route(service, ways), *await self._apply(service, ways))]
            if told:
                problems[service] = "; ".join(dict.fromkeys(told))
        return problems

    async def check(self) -> None:
        """Sockets are ours alone."""

    async def stop(self) -> None:
        await self._engine.stop()
        if self._routes is not None:
            await self._routes.close()

    async def _apply(self, service: str, ways: tuple[Way, ...]) -> list[Exception]:
        """Pools first, so that a front finds its endpoints; and what goes before what comes, which may take its port."""
        fronts, pools = self._fronts.setdefault(service, {}), self._pools.setdefault(service, set())
        wanted = {f.name: f for way in ways if way.endpoints for f in self.fronts(service, way)}
        for name in [n for n in fronts if n not in wanted]:
            await self._engine.drop_front(name)
            del fronts[name]
            self._count -= 1
        by_pool = {self._pool(service, way): way for way in ways}
        for name in pools - by_pool.keys():
            await self._engine.drop_pool(name)
        pools.clear()
        for name, way in by_pool.items():
            endpoints = tuple(Endpoint(host, port) for host, port in way.endpoints)
            await self._engine.set_pool(Pool(name, endpoints, affinity_seconds=way.affinity))
            pools.add(name)
        failed = [error for front in wanted.values() if (error := await self._set(fronts, front)) is not None]
        if not ways:
            del self._fronts[service], self._pools[service]
        return failed

    async def _set(self, known: dict[str, Forward], front: Forward) -> Exception | None:
        if known.get(front.name) == front:
            return None
        if front.name not in known and self._count >= self._most:
            return OSError(24, f"there are {self._count} ports already, and no more sockets are allowed (ulimit -n)")
        try:
            await self._engine.set_front(front)
        except (OSError, ValueError) as error:
            return OSError(f"{front.address}:{front.port}: {getattr(error, 'strerror', None) or error}")
        self._count += front.name not in known
        known[front.name] = front
        return None

    def fronts(self, service: str, way: Way) -> Iterator[Forward]:
        """Where a way is found on this machine."""
        for address, port, interface in self._places(way):
            name = f"{service}|{way.name}|{address}"
            yield Forward(name, address, port, way.transport, self._pool(service, way), interface=interface)

    def _places(self, way: Way) -> Iterator[tuple[str, int, str]]:
        if way.kind == "external":
            if self.reaches_services:
                yield way.address, way.port, ""
        elif way.kind == "cluster":
            yield loopback.twin(way.address), loopback.port(way.port), ""
            if self.reaches_services:
                yield way.address, way.port, ""
        elif way.address:
            yield loopback.twin(way.address), way.port, ""
        elif any(network.prefixlen == 0 for network in self._open_to) and not way.local:
            yield "0.0.0.0", way.port, ""
        else:
            everywhere = loopback.has_range() and not way.local
            yield ("0.0.0.0", way.port, "lo") if everywhere else ("127.0.0.1", way.port, "")
            for interface, address in self._others.items():
                yield address, way.port, interface

    def _pool(self, service: str, way: Way) -> str:
        return f"{service}|{way.name}"

    def _is_open(self, address: str) -> bool:
        return any(ipaddress.ip_address(address) in network for network in self._open_to)

    async def _route(self, service: str, ways: tuple[Way, ...]) -> list[OSError]:
        """External addresses are made this machine's own, one by one."""
        wanted = {f"{w.address}/32" for w in ways if w.kind == "external"}
        before = self._external.pop(service, set())
        if self._routes is None or not (wanted or before):
            return []
        there, failed = await self._routes.retell(before, wanted)
        if there:
            self._external[service] = there
        return failed


def _raise_limit() -> int:
    """As many open files as the machine lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft
