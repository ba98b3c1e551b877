"""What every kind of front has: its name and counters, the connections that are open, and the sockets it waits on."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from pilothouse.dataplane.embedded.counters import Counters
from pilothouse.dataplane.embedded.listening import Listening
from pilothouse.dataplane.model import Front

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine


class Open(Protocol):
    """A connection or session as its front knows it."""

    def abort(self) -> None:
        """End it now."""


class FrontState:
    """A front that is there."""

    def __init__(self, engine: EmbeddedEngine, front: Front, counters: Counters) -> None:
        self.engine = engine
        self.front = front
        self.counters = counters
        self.open: set[Open] = set()
        #: Of a front that takes connections; set before `listen` where another one had the address.
        self.listening: Listening | None = None

    async def listen(self) -> None:
        """Begin on the front's address. OSError if that cannot be."""
        raise NotImplementedError

    def retell(self, front: Front) -> bool:
        """Take a new description for the same address, also for the connections that are open. False if this kind of front cannot."""
        raise NotImplementedError

    def close(self) -> None:
        """Take nothing new. What runs goes on."""
        if self.listening is not None:
            self.listening.close()

    def drain(self) -> None:
        """Close what is open without anything running on it; another front, or none, has the address now."""

    def sweep(self, now: float) -> None:
        """End what has been idle for too long; called every few seconds."""

    def abort(self) -> None:
        """End everything."""
        for connection in list(self.open):
            connection.abort()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self.engine.spawn(work)


def admission(source_ranges: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether an address may come in. ValueError for a range that is none."""
    if not source_ranges:
        return lambda _: True
    networks = [ipaddress.ip_network(text.strip(), strict=False) for text in source_ranges]

    def admits(address: str) -> bool:
        try:
            source = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(source, "ipv4_mapped", None)
        source = mapped or source
        return any(source.version == network.version and source in network for network in networks)

    return admits
