"""Node ports: which are taken is what the services say, plus what writes in progress have reserved.

The services are the only record, so there is nothing that could disagree with them after a crash. Several API servers on one
store claim a port before they look whether a service has it (`claims.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pilothouse.api.errors import Obj
from pilothouse.apiserver.allocators.bands import candidates, static_band
from pilothouse.apiserver.allocators.errors import AllocationError, AlreadyAllocated, Full
from pilothouse.apiserver.claims import Claim
from pilothouse.apiserver.interface import Hub


@dataclass(frozen=True, slots=True)
class NodePortRange:
    """--service-node-port-range, both ends included."""

    first: int = 30000
    last: int = 32767

    @classmethod
    def parse(cls, text: str) -> NodePortRange:
        """`30000-32767`, `30000+2767`. ValueError for others."""
        separator = "+" if "+" in text else "-"
        low, _, high = text.partition(separator)
        first = int(low)
        last = first + int(high) if separator == "+" else int(high)
        if not 0 < first <= last <= 65535:
            raise ValueError(f"{text!r} is not a valid port range")
        return cls(first, last)

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def ports_of(service: Obj) -> Iterator[int]:
    """The node ports that a service holds."""
    spec = service.get("spec") or {}
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]


class NodePorts:
    """The ports of one range."""

    def __init__(self, hub: Hub, range: NodePortRange) -> None:
        self._random = hub.clock.random
        self._range = range
        self._claims = hub.claims
        #: What writes in progress have taken; a write that only tries (dry run) claims nothing among servers.
        self._reserved: dict[int, Claim | None] = {}
        #: Port -> how many services have it; counted when first asked, then kept by the cache's changes.
        self._held: dict[int, int] | None = None
        self._services = hub.cache("", "services")
        self._services.subscribe(self._changed)

    def _load(self) -> dict[int, int]:
        if self._held is None:
            self._held = {}
            for entry in self._services.list():
                self._count(self._held, entry.obj, 1)
        return self._held

    def _changed(self, type: str, obj: Obj, previous: Obj | None) -> None:
        held = self._held
        if held is None:
            return
        if previous is not None:
            self._count(held, previous, -1)
        if type != "DELETED":
            self._count(held, obj, 1)

    def _count(self, held: dict[int, int], service: Obj, change: int) -> None:
        for port in ports_of(service):
            left = held.get(port, 0) + change
            if left > 0:
                held[port] = left
            else:
                held.pop(port, None)

    def _taken(self, port: int) -> bool:
        return port in self._load() or port in self._reserved

    async def reserve(self, port: int, dry_run: bool = False) -> None:
        """Take a port until the service that asks for it is stored or `release` is called."""
        if port not in self._range:
            raise AllocationError(f"provided port is not in the valid range. The range of valid ports is {self._range}")
        if not await self._take(port, dry_run):
            raise AlreadyAllocated("provided port is already allocated")

    async def reserve_next(self, dry_run: bool = False) -> int:
        """Take any free port of the range."""
        first, size = self._range.first, self._range.last - self._range.first + 1
        band = static_band(size, 32, 128)
        for offset in candidates(size, band, self._random, lambda o: not self._taken(first + o)):
            if await self._take(first + offset, dry_run):
                return first + offset
        raise Full

    async def _take(self, port: int, dry_run: bool) -> bool:
        """Reserve the port here, then among all servers, and only then believe that no service has it."""
        if self._taken(port):
            return False
        self._reserved[port] = None
        try:
            claim = None if dry_run else await self._claims.take(f"servicenodeports/{port}")
        except BaseException:
            del self._reserved[port]
            raise
        self._reserved[port] = claim
        if (claim is None and not dry_run) or port in self._load():
            await self.release(port)
            return False
        return True

    async def release(self, port: int) -> None:
        """Forget a reservation: the service holds the port now, or nobody does."""
        claim = self._reserved.pop(port, None)
        if claim is not None:
            await claim.release()
