"""Cluster IPs: each is held by an IPAddress object of its name, so that the store itself decides who was first (KEP-1880)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.allocators.bands import candidates, static_band
from pilothouse.apiserver.allocators.errors import AllocationError, AlreadyAllocated, Full
from pilothouse.apiserver.interface import Hub

GROUP = "networking.k8s.io"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
_FAMILY = "ipaddress.kubernetes.io/ip-family"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def family_of(text: str) -> str:
    """IPv4 or IPv6, of an address or a range."""
    return "IPv6" if ":" in text else "IPv4"


class Addresses:
    """All service ranges: those of the flags, and those of ServiceCIDR objects that are ready."""

    def __init__(self, hub: Hub, ranges: Sequence[str]) -> None:
        self._hub = hub
        self._default = [ipaddress.ip_network(r, strict=False) for r in ranges]

    @property
    def families(self) -> list[str]:
        """The configured families, the first is the default."""
        return list(dict.fromkeys(family_of(str(n)) for n in self._default))

    def _networks(self, family: str) -> Iterator[Network]:
        version = 6 if family == "IPv6" else 4
        yield from (n for n in self._default if n.version == version)
        for entry in self._hub.cache(GROUP, "servicecidrs").list():
            if _ready(entry.obj):
                more = (ipaddress.ip_network(c, strict=False) for c in entry.obj["spec"].get("cidrs") or ())
                yield from (n for n in more if n.version == version and n not in self._default)

    async def allocate(self, address: str, service: Obj, dry_run: bool) -> None:
        """Take an address. AllocationError if it is taken, or is in no range."""
        if not self.covers(ipaddress.ip_address(address)):
            raise AllocationError("the provided network does not match the current range")
        if not dry_run:
            await self.take(address, service)

    def covers(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether the address is one that a range can give away."""
        return any(_usable(n, ip) for n in self._networks(family_of(str(ip))))

    async def allocate_next(self, family: str, service: Obj, dry_run: bool) -> str:
        """Take any address of a family."""
        for network in self._networks(family):
            for address in self._free(network):
                try:
                    if not dry_run:
                        await self.take(address, service)
                except AlreadyAllocated:
                    continue
                return address
        raise Full

    def _free(self, network: Network) -> Iterator[str]:
        """Free addresses of a range, without its first (the network's) and, in IPv4, its last (broadcast)."""
        base = int(network.network_address) + 1
        size = min(network.num_addresses - (1 if network.version == 6 else 2), 1 << 20)
        cache = self._hub.cache(GROUP, "ipaddresses")

        def text(offset: int) -> str:
            return str(type(network.network_address)(base + offset))

        band = static_band(network.num_addresses, 16, 256)
        for offset in candidates(size, min(band, size), self._hub.clock.random, lambda o: cache.get("", text(o)) is None):
            yield text(offset)

    async def take(self, address: str, service: Obj) -> None:
        """Make the object by which a service holds an address. AlreadyAllocated if there is one."""
        try:
            await self._hub.create(GROUP, "ipaddresses", _object(address, service))
        except StatusError as error:
            if error.reason == "AlreadyExists":
                raise AlreadyAllocated("provided IP is already allocated") from None
            raise

    async def release(self, address: str) -> None:
        """Give an address back. One that is not there is no error."""
        try:
            await self._hub.delete(GROUP, "ipaddresses", address)
        except StatusError as error:
            if error.reason != "NotFound":
                raise


def _ready(cidr: Obj) -> bool:
    if cidr["metadata"].get("deletionTimestamp"):
        return False
    conditions = (cidr.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _usable(network: Network, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if ip not in network or ip == network.network_address:
        return False
    return network.version == 6 or ip != network.broadcast_address


def _object(address: str, service: Obj) -> Obj:
    metadata = {"name": address, "labels": {_FAMILY: family_of(address), MANAGED_BY: ALLOCATOR}}
    owner = service["metadata"]
    parent = {"group": "", "resource": "services", "namespace": owner["namespace"], "name": owner["name"]}
    return {"kind": "IPAddress", "apiVersion": f"{GROUP}/v1", "metadata": metadata, "spec": {"parentRef": parent}}
