"""The first fit: devices for all requests of all claims of a pod on one node, trying again where a choice turns out wrong.

Pools, slices and devices are tried in the order of their names; a prioritized list (KEP-4816) in its own order. Pure: nothing is changed
but the search's own notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.api import quantity
from pilothouse.scheduler.devices.capacity import Amounts, consumption
from pilothouse.scheduler.devices.inventory import Device, DeviceId, Inventory, NoAnswer, Pool, PoolId
from pilothouse.scheduler.devices.requests import MOST_DEVICES, Constraint, Impossible, Option, Wish
from pilothouse.scheduler.tolerations import tolerates

#: Devices tried before a node is given up.
PATIENCE = 100_000


@dataclass(frozen=True, slots=True)
class Given:
    """A device for one request. `consumed` is what it takes of a shared device (None for one of its own)."""

    device: Device
    option: Option
    consumed: Amounts | None


#: For each claim what it gets.
Allocation = list[list[Given]]


def allocate(wishes: Sequence[Wish], inventory: Inventory, node: str, labels: dict[str, str]) -> Allocation | None:
    """Devices for all claims, or None. Impossible, with a reason, where more is to be said than that there are not enough."""
    return _Search(wishes, inventory, node, labels).run()


@dataclass(slots=True)
class _Search:
    wishes: Sequence[Wish]
    inventory: Inventory
    node: str
    labels: dict[str, str]
    taken: Counter[DeviceId] = field(default_factory=Counter)
    consumed: dict[DeviceId, Counter[str]] = field(default_factory=dict)
    counters: dict[PoolId, Counter[tuple[str, str]]] = field(default_factory=dict)
    found: dict[int, list[Device]] = field(default_factory=dict)  # by the option's identity
    pools: list[Pool] = field(default_factory=list)
    usable: list[Device] = field(default_factory=list)
    given: Allocation = field(default_factory=list)
    steps: int = 0

    def run(self) -> Allocation | None:
        self.given = [[] for _ in self.wishes]
        self.pools = self.inventory.pools_of(self.node)
        self.usable = [d for p in self.pools if not p.problem for d in p.devices if d.usable_from(self.node, self.labels)]
        return self.given if self._claim(0, 0) else None

    # --- the way forward ---------------------------------------------------------------------------------------------------------

    def _claim(self, claim: int, request: int) -> bool:
        if claim == len(self.wishes):
            return True
        requests = self.wishes[claim].requests
        if request == len(requests):
            return self._claim(claim + 1, 0)
        return any(self._option(claim, request, option) for option in requests[request].options)

    def _option(self, claim: int, request: int, option: Option) -> bool:
        devices = self._candidates(option)
        if option.count is None:
            return self._all(claim, request, option, devices)
        if len(self.given[claim]) + option.count > MOST_DEVICES:
            return False
        return self._some(claim, request, option, devices, option.count, 0)

    def _some(self, claim: int, request: int, option: Option, devices: list[Device], left: int, first: int) -> bool:
        if not left:
            return self._claim(claim, request + 1)
        for n in range(first, len(devices)):
            device = devices[n]
            if not self._take(claim, option, device):
                continue
            if self._some(claim, request, option, devices, left - 1, n if device.shared else n + 1):
                return True
            self._give_back(claim)
        return False

    def _all(self, claim: int, request: int, option: Option, devices: list[Device]) -> bool:
        for pool in self.pools:
            if pool.problem:
                name = "/".join(pool.id)
                raise Impossible(f"request {option.name}: asks for all devices, but resource pool {name} {pool.problem}")
        if not devices or len(self.given[claim]) + len(devices) > MOST_DEVICES:
            return False
        before = len(self.given[claim])
        if all(self._take(claim, option, device) for device in devices) and self._claim(claim, request + 1):
            return True
        while len(self.given[claim]) > before:
            self._give_back(claim)
        return False

    def _candidates(self, option: Option) -> list[Device]:
        known = self.found.get(id(option))
        if known is None:
            known = self.found[id(option)] = [d for d in self.usable if self._wanted(option, d)]
        return known

    def _wanted(self, option: Option, device: Device) -> bool:
        for n, expression in enumerate(option.expressions):
            try:
                if not device.matches(expression):
                    return False
            except NoAnswer as error:
                raise Impossible(f"request {option.name}: selector #{n}: CEL runtime error: {error}") from error
        return True

    # --- one device --------------------------------------------------------------------------------------------------------------

    def _take(self, claim: int, option: Option, device: Device) -> bool:
        self.steps += 1
        if self.steps > PATIENCE:
            raise Impossible("timed out trying to allocate devices")
        consumed = consumption(device.id[0], device.raw, option.capacity)
        if consumed is None or not self._free(option, device, consumed):
            return False
        if any(not tolerates(option.tolerations, taint) for taint in device.taints):
            return False
        if not all(self._agrees(claim, c, device) for c in self.wishes[claim].constraints if c.concerns(option)):
            return False
        self._count(option, device, consumed, 1)
        self.given[claim].append(Given(device, option, consumed if device.shared else None))
        return True

    def _give_back(self, claim: int) -> None:
        last = self.given[claim].pop()
        self._count(last.option, last.device, last.consumed or {}, -1)

    def _free(self, option: Option, device: Device, consumed: Amounts) -> bool:
        if option.admin:
            return True
        use = self.inventory.uses.get(device.id)
        fresh = use is None and not self.taken[device.id]
        if not device.shared:
            return fresh and self._counters_do(device)
        mine = self.consumed.get(device.id, Counter[str]())
        listed = device.raw.get("capacity") or {}
        for name, amount in consumed.items():
            used = mine[name] + (use.consumed[name] if use is not None else 0)
            if used + amount > quantity.parse(listed[name]["value"]).nano:
                return False
        return not fresh or self._counters_do(device)

    def _counters_do(self, device: Device) -> bool:
        if not device.counters:
            return True
        pool = self.inventory.pools[device.id[:2]]
        used, mine = self.inventory.counters_used(pool), self.counters.get(pool.id, Counter[tuple[str, str]]())
        return all(used[key] + mine[key] + amount <= pool.totals.get(key, 0) for key, amount in device.counters)

    def _count(self, option: Option, device: Device, consumed: Amounts, sign: int) -> None:
        if option.admin:
            return
        held = self.taken[device.id]
        self.taken[device.id] += sign
        own = self.consumed.setdefault(device.id, Counter())
        for name, amount in consumed.items():
            own[name] += sign * amount
        first_or_last = held == (0 if sign > 0 else 1)
        if device.counters and first_or_last and device.id not in self.inventory.uses:
            counters = self.counters.setdefault(device.id[:2], Counter())
            for key, amount in device.counters:
                counters[key] += sign * amount

    def _agrees(self, claim: int, constraint: Constraint, device: Device) -> bool:
        value = device.attribute(constraint.attribute)
        if value is None:
            return False
        others = [g.device.attribute(constraint.attribute) for g in self.given[claim] if constraint.concerns(g.option)]
        return value not in others if constraint.distinct else all(value == other for other in others)
