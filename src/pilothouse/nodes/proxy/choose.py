"""Which backend this machine allows: `auto` is nftables where they can be changed, and sockets elsewhere."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from collections.abc import Iterable
from typing import Literal

from pilothouse.clock import Clock
from pilothouse.nodes.proxy.backend import Backend
from pilothouse.nodes.proxy.system import PROTOCOL, LocalRoutes, NetworkLock
from pilothouse.nodes.proxy.will import LastWill

log = logging.getLogger("pilothouse.nodes")

Mode = Literal["auto", "userspace", "nftables", "none"]


def check(mode: Mode, nodeport_addresses: Iterable[str]) -> tuple[str, ...]:
    """Networks as the flag has them. ValueError, in one line, for what is none, and where they cannot be had."""
    found = []
    if mode == "nftables" and nodeport_addresses:
        raise ValueError("--nodeport-addresses is for --proxy-mode userspace")
    for text in nodeport_addresses:
        try:
            found.append(str(ipaddress.IPv4Network(text)))
        except ValueError as error:
            raise ValueError(f"--nodeport-addresses: {error}") from None
    return tuple(found)


class Chosen:
    """A backend that has been started, and the right to change this machine's network, if it has that."""

    def __init__(self, backend: Backend, lock: NetworkLock | None = None, will: LastWill | None = None) -> None:
        self.backend = backend
        self._lock = lock
        self._will = will

    @property
    def alone(self) -> bool:
        """Whether no other cluster has changed this machine's network."""
        return self._lock is not None

    async def stop(self) -> None:
        """Stop it, and give the right back."""
        await self.backend.stop()
        if self._will is not None:
            await self._will.tear()
        if self._lock is not None:
            self._lock.give_back()


async def choose(mode: Mode, clock: Clock, service_range: str, nodeport_addresses: tuple[str, ...] = ()) -> Chosen:
    """A started backend. OSError if the one that is asked for by name cannot be had."""
    lock = NetworkLock()
    try:
        lock.take()
    except OSError as error:
        if mode == "nftables":
            raise
        log.info("%s: cluster IPs are found at their loopback addresses only", error)
        return Chosen(await _userspace(clock, None, service_range, nodeport_addresses))
    try:
        with contextlib.suppress(OSError):  # who may not look at routes has left none
            await LocalRoutes.clear()
        backend = None if mode == "userspace" or nodeport_addresses else await _nftables(service_range, mode == "nftables")
        backend = backend or await _userspace(clock, LocalRoutes(), service_range, nodeport_addresses)
        return Chosen(backend, lock, await _will(lock, backend))
    except BaseException:
        lock.give_back()
        raise


async def _will(lock: NetworkLock, backend: Backend) -> LastWill | None:
    """None where nothing has been changed."""
    from pilothouse.nodes.proxy.nftables import TABLE

    if not backend.reaches_services:
        return None
    will = LastWill(lock, TABLE, PROTOCOL)
    await will.write()
    return will


async def _nftables(service_range: str, only: bool) -> Backend | None:
    """None where they cannot be changed; OSError if nothing else will do."""
    from pilothouse.nodes.proxy.nftables import Nftables

    backend = Nftables(service_range)
    try:
        await backend.start()
        return backend
    except OSError as error:
        if only:
            raise
        log.info("nftables cannot be used: %s", error)
        return None


async def _userspace(
    clock: Clock, routes: LocalRoutes | None, service_range: str, nodeport_addresses: tuple[str, ...]
) -> Backend:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine
    from pilothouse.nodes.proxy.userspace import Userspace

    backend = Userspace(EmbeddedEngine(clock), routes, service_range, nodeport_addresses)
    await backend.start()
    return backend
