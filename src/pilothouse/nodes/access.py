"""Access to a cluster's Services from this machine, as `up` starts it: names (`dns/`) and addresses (`proxy/`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pilothouse.client.interface import Transport
from pilothouse.clock import Clock
from pilothouse.nodes.dns.sockets import Address, Sockets, bind, bind_next
from pilothouse.nodes.dns.standby import StandbyDns, cluster_ip

if TYPE_CHECKING:
    from pilothouse.nodes.dns.server import Options
    from pilothouse.nodes.proxy.choose import Mode

log = logging.getLogger("pilothouse.nodes")

DNS_PORT = 10_053
Answers = Literal["auto", "cluster", "loopback"]


@dataclass(frozen=True, slots=True)
class Access:
    """What is wanted. `dns_port` None: 10053 or the next that is free; 0: no name server.

    `dns_answers`: the cluster's own addresses, their twins on this machine, or (auto) those of the two that can be reached.
    """

    dns_port: int | None = None
    dns_answers: Answers = "auto"
    #: Who is asked for other names: None means this machine's resolvers, none means nobody.
    dns_resolvers: tuple[Address, ...] | None = None
    zone: str = "cluster.local"
    proxy_mode: Mode = "none"
    #: Networks (CIDR) of this machine by which others reach node ports.
    nodeport_addresses: tuple[str, ...] = ()


class ServiceAccess:
    """`run` until cancelled. OSError at once where the name server's port cannot be had.

    `elsewhere` are endpoints that this machine reaches at other addresses than they tell.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        access: Access,
        service_range: str,
        elsewhere: Callable[[], Mapping[Address, Address]] = dict,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._access = access
        self._service_range = service_range
        self._elsewhere = elsewhere
        #: Whether Services and pods are reached at their own addresses; the first question waits until this is known.
        self._reached: asyncio.Future[tuple[bool, bool]] | None = None
        self._sockets: Sockets | None = None
        if access.dns_port != 0:
            wanted = ("127.0.0.1", access.dns_port or DNS_PORT)
            self._sockets = Sockets(bind(wanted) if access.dns_port else bind_next(wanted))

    @property
    def zone(self) -> str:
        return self._access.zone

    @property
    def dns_address(self) -> Address | None:
        """Where names are answered; None: nowhere."""
        return self._sockets.addresses[0] if self._sockets is not None else None

    async def run(self) -> None:
        self._reached = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            if self._sockets is not None:
                address = cluster_ip(self._service_range)
                group.create_task(StandbyDns(self._transport, self._clock, self._sockets, address, self._dns_options).run())
            await self._proxy()

    async def _proxy(self) -> None:
        assert self._reached is not None
        access = self._access
        if access.proxy_mode == "none":
            self._reached.set_result((False, False))
            return
        from pilothouse.nodes.proxy.choose import choose
        from pilothouse.nodes.proxy.proxier import Proxier

        try:
            chosen = await choose(access.proxy_mode, self._clock, self._service_range, access.nodeport_addresses)
        except OSError as error:
            log.error("Services are not served by %s: %s", access.proxy_mode, error.strerror or error)
            self._reached.set_result((False, False))
            return
        self._reached.set_result((chosen.backend.reaches_services, chosen.backend.reaches_pods))
        try:
            await Proxier(self._transport, self._clock, chosen.backend, self._elsewhere(), chosen.alone).run()
        finally:
            await chosen.stop()

    def close(self) -> None:
        """Give the ports back, where `run` was never begun."""
        if self._sockets is not None:
            self._sockets.close()

    async def _dns_options(self) -> Options:
        assert self._reached is not None
        reached = await self._reached if self._access.dns_answers == "auto" else (False, False)
        return dns_options(self._access, reached)


def dns_options(access: Access, reached: tuple[bool, bool] = (False, False)) -> Options:
    """The name server's settings. `reached` says whether Services and pods are reached at their own addresses."""
    from pilothouse.nodes.dns.server import Options
    from pilothouse.nodes.dns.zone import Options as ZoneOptions
    from pilothouse.nodes.dns.zone import Twins

    services, pods = reached if access.dns_answers == "auto" else (access.dns_answers == "cluster",) * 2
    twins: set[Twins] = set()
    if not services:
        twins.add("services")
    if not pods:
        twins.add("pods")
    return Options(ZoneOptions(access.zone, twins=frozenset(twins)), access.dns_resolvers)
