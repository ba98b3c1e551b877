"""The addresses that load balancers and gateways get: each belongs to one owner at a time.

Services take the lower half of the range and Gateways the upper one, so that neither takes what the other has from before a restart and has
not asked for again yet; only who has used up one half goes on in the other. What was given back last is given again last. 127.0.0.1 may be had by everybody: whoever is there differs by port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from pilothouse.cloud.providers.local.config import SHARED, Config

#: How many new addresses are looked at for a quiet one.
TRIES = 5
#: Whether somebody who has not asked again yet has an address from before.
Reserved = Callable[[str], bool]


class NotGiven(Exception):
    """An address that cannot be had, and why."""


class _Half:
    """Addresses one after another, round and round."""

    def __init__(self, first: int, count: int) -> None:
        self._first = first
        self._count = count
        self._next = 0

    def take(self, free: Callable[[str], bool]) -> str | None:
        for step in range(self._count):
            at = (self._next + step) % self._count
            address = str(ipaddress.IPv4Address(self._first + at))
            if free(address):
                self._next = at + 1
                return address
        return None


class Addresses:
    """Who has which. Owners are names such as `Service/default/web`; an owner may have several."""

    def __init__(self, config: Config) -> None:
        self._range = config.addresses
        self._elsewhere = config.elsewhere
        self._owners: dict[str, str] = {}
        base, half = int(self._range.network_address), self._range.num_addresses // 2
        skipped = min(1, half - 2)  # 127.50.128.1 reads better than 127.50.128.0
        self._services = _Half(base + 1, half - 1)
        self._gateways = _Half(base + half + skipped, half - 1 - skipped)

    def claim(self, address: str, owner: str) -> None:
        """Give exactly this one. NotGiven if it is no address of the range, or another's."""
        if address == SHARED:
            return
        try:
            inside = ipaddress.IPv4Address(address) in self._range
        except ValueError:
            inside = False
        if not inside:
            raise NotGiven(f"{address} is not in {self._range}, the range of load balancers' addresses")
        if self._elsewhere:
            raise NotGiven(f"{address} cannot be had: all load balancers are on {SHARED} here")
        holder = self._owners.setdefault(address, owner)
        if holder != owner:
            raise NotGiven(f"{address} belongs to {holder}")

    def for_service(self, owner: str, reserved: Reserved) -> str:
        return self._take((self._services, self._gateways), owner, reserved)

    def for_gateway(self, owner: str, reserved: Reserved) -> str:
        return self._take((self._gateways, self._services), owner, reserved)

    def quiet(self, owner: str, take: Callable[[], str], is_quiet: Callable[[str], bool]) -> str:
        """A new address on which nobody listens yet, if that is soon found: another cluster may be on this machine. Otherwise the first."""
        seen = [take()]
        while not is_quiet(seen[-1]) and len(seen) < TRIES:
            try:
                seen.append(take())
            except NotGiven:
                break
        chosen = seen[-1] if is_quiet(seen[-1]) else seen[0]
        for address in seen:
            if address != chosen:
                self.release(address, owner)
        return chosen

    def release(self, address: str, owner: str) -> None:
        if self._owners.get(address) == owner:
            del self._owners[address]

    def holder(self, address: str) -> str:
        """Whose it is; "" for nobody's."""
        return self._owners.get(address, "")

    def _take(self, halves: tuple[_Half, _Half], owner: str, reserved: Reserved) -> str:
        if self._elsewhere:
            return SHARED
        for half in halves:
            address = half.take(lambda a: a not in self._owners and not reserved(a))
            if address is not None:
                self._owners[address] = owner
                return address
        raise NotGiven(f"no address is left in {self._range}")
