"""What devices there are and what is taken: pools of ResourceSlices, and the allocations of ResourceClaims, kept up to date by deltas.

Only slices of a pool's newest generation count, and only when all of them are there. Counters shared by the devices of a pool
(KEP-4815) are totals less what its allocated devices consume.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.nodeselectors import matches_term
from pilothouse.scheduler.devices import CLAIMS, SLICES
from pilothouse.scheduler.devices.capacity import named
from pilothouse.scheduler.stock import POOL, Key, Stock
from pilothouse.scheduler.tolerations import Taint

Obj = dict[str, Any]
DeviceId = tuple[str, str, str]  # driver, pool, device
PoolId = tuple[str, str]  # driver, pool


class NoAnswer(Exception):
    """A selector that cannot be evaluated for a device."""


@dataclass(slots=True, eq=False)
class Device:
    """One device, with the answers of selectors about it."""

    id: DeviceId
    raw: Obj
    place: Obj  # what says where it can be used from: its slice's spec, or itself
    taints: tuple[Taint, ...]
    counters: tuple[tuple[tuple[str, str], int], ...]  # ((set, counter), amount)
    _value: dict[str, Any] | None = None
    _answers: dict[str, bool | NoAnswer] = field(default_factory=dict)

    @property
    def shared(self) -> bool:
        return bool(self.raw.get("allowMultipleAllocations"))

    def matches(self, expression: str) -> bool:
        """Whether a selector wants it. NoAnswer where it cannot say."""
        answer = self._answers.get(expression)
        if answer is None:
            answer = self._answers[expression] = self._ask(expression)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    def _ask(self, expression: str) -> bool | NoAnswer:
        from pilothouse.api.cel.devices import device_value, selector
        from pilothouse.api.cel.errors import CelError, CompileError

        try:
            if self._value is None:
                self._value = device_value(self.id[0], self.raw)
            return selector(expression).matches(self._value)
        except (CelError, CompileError, TypeError) as error:
            return NoAnswer(str(error))

    def attribute(self, name: str) -> Obj | None:
        """The value of an attribute by its full name."""
        for known, value in (self.raw.get("attributes") or {}).items():
            if named(known, self.id[0]) == name:
                found: Obj = value
                return found
        return None

    def usable_from(self, name: str, labels: dict[str, str]) -> bool:
        """Whether it can be used from a node."""
        if self.place.get("nodeName"):
            return bool(self.place["nodeName"] == name)
        if self.place.get("nodeSelector"):
            return any(matches_term(t, name, labels) for t in self.place["nodeSelector"].get("nodeSelectorTerms") or ())
        return bool(self.place.get("allNodes"))


@dataclass(slots=True, eq=False)
class Pool:
    """`nodes`: the only nodes from which it can be used; None: perhaps from any."""

    id: PoolId
    devices: list[Device]
    problem: str  # why it cannot be used now
    nodes: frozenset[str] | None
    totals: dict[tuple[str, str], int]  # (counter set, counter) -> amount
    late: bool  # has devices that bind only after conditions are met: looked at last


@dataclass(slots=True)
class Use:
    """Allocations of one device, and what they consume of it."""

    count: int = 0
    consumed: Counter[str] = field(default_factory=Counter)


class Inventory:
    """Pools and usage of a stock. `refresh` before reading."""

    #: Changes remembered at most.
    LOG = 4096

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self.pools: dict[PoolId, Pool] = {}
        self._by_node: dict[str, dict[PoolId, None]] = {}
        self._anywhere: dict[PoolId, None] = {}
        self._pool_of: dict[Key, PoolId] = {}  # slice -> pool
        self.uses: dict[DeviceId, Use] = {}
        self._counted: dict[Key, list[tuple[DeviceId, dict[str, int]]]] = {}
        self._counters: dict[PoolId, Counter[tuple[str, str]]] = {}
        self._seen = {SLICES: -1, CLAIMS: -1}
        self._log: list[PoolId] = []
        self._log_start = 0

    # --- reading -----------------------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        return self._log_start + len(self._log)

    def changed_since(self, version: int) -> set[PoolId] | None:
        """Pools whose devices or usage changed; None when they are too many to be remembered."""
        first = version - self._log_start
        return set(self._log[first:]) if first >= 0 else None

    def pools_of(self, node: str) -> list[Pool]:
        """Pools whose devices may be usable from a node, in the order in which they are looked at."""
        found = [self.pools[i] for i in (*self._by_node.get(node, ()), *self._anywhere)]
        return sorted(found, key=lambda pool: (pool.late, pool.id))

    def counters_used(self, pool: Pool) -> Counter[tuple[str, str]]:
        """What the allocated devices of a pool consume of its counters."""
        known = self._counters.get(pool.id)
        if known is None:
            known = self._counters[pool.id] = Counter()
            for device in pool.devices:
                if device.id in self.uses:
                    known.update(dict(device.counters))
        return known

    # --- following ---------------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what changed in the stock."""
        for key in self._changed(SLICES, self._pool_of):
            self._slice_changed(key)
        for key in self._changed(CLAIMS, self._counted):
            self._claim_changed(key)

    def _changed(self, plural: str, known: Iterable[Key]) -> Iterable[Key]:
        version, seen = self._stock.version(plural), self._seen[plural]
        if version == seen:
            return ()
        self._seen[plural] = version
        keys = self._stock.changed_since(plural, seen) if seen >= 0 else None
        if keys is None:
            keys = set(known) | {(o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in self._stock.all(plural)}
        return keys

    def _slice_changed(self, key: Key) -> None:
        obj = self._stock.get(SLICES, *key)
        affected = {self._pool_of.pop(key, None)}
        if obj is not None:
            pool = obj["spec"]["driver"], obj["spec"]["pool"]["name"]
            self._pool_of[key] = pool
            affected.add(pool)
        for pool_id in affected:
            if pool_id is not None:
                self._rebuild(pool_id)

    def _rebuild(self, pool_id: PoolId) -> None:
        self._note(pool_id)
        old = self.pools.pop(pool_id, None)
        if old is not None:
            self._anywhere.pop(pool_id, None)
            for node in old.nodes or ():
                del self._by_node[node][pool_id]
        pool = make_pool(pool_id, self._stock.indexed(SLICES, POOL, "/".join(pool_id)))
        if pool is None:
            return
        self.pools[pool_id] = pool
        if old is not None and old.nodes != pool.nodes:
            self._note(("", ""))  # its former nodes count as changed too: all do
        if pool.nodes is None:
            self._anywhere[pool_id] = None
        for node in pool.nodes or ():
            self._by_node.setdefault(node, {})[pool_id] = None
        self._note(pool_id)

    def _claim_changed(self, key: Key) -> None:
        before = self._counted.pop(key, [])
        claim = self._stock.get(CLAIMS, *key)
        now = [] if claim is None else list(_allocated(claim))
        if now:
            self._counted[key] = now
        if now == before:
            return
        for device, consumed in before:
            self._count(device, consumed, -1)
        for device, consumed in now:
            self._count(device, consumed, 1)

    def _count(self, device: DeviceId, consumed: dict[str, int], sign: int) -> None:
        use = self.uses.setdefault(device, Use())
        use.count += sign
        for name, amount in consumed.items():
            use.consumed[name] += sign * amount
        if not use.count:
            del self.uses[device]
        self._note(device[:2])

    def _note(self, pool_id: PoolId) -> None:
        self._counters.pop(pool_id, None)
        self._log.append(pool_id)
        if len(self._log) > self.LOG:
            self._log_start += self.LOG // 2
            del self._log[: self.LOG // 2]


def _allocated(claim: Obj) -> Iterator[tuple[DeviceId, dict[str, int]]]:
    """The devices that a claim takes up; administrators only look."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    for result in (allocation.get("devices") or {}).get("results") or ():
        if not result.get("adminAccess"):
            consumed = {k: quantity.parse(v).nano for k, v in (result.get("consumedCapacity") or {}).items()}
            yield (result["driver"], result["pool"], result["device"]), consumed


def make_pool(pool_id: PoolId, slices: Iterable[Obj]) -> Pool | None:
    """A pool from its slices; None if there are none."""
    listed = sorted(slices, key=lambda s: s["metadata"]["name"])
    if not listed:
        return None
    newest = max(s["spec"]["pool"].get("generation") or 0 for s in listed)
    specs = [s["spec"] for s in listed if (s["spec"]["pool"].get("generation") or 0) == newest]
    devices = [_device(pool_id, raw, spec) for spec in specs for raw in spec.get("devices") or ()]
    totals = {
        (counters["name"], name): quantity.parse(counter["value"]).nano
        for spec in specs
        for counters in spec.get("sharedCounters") or ()
        for name, counter in counters["counters"].items()
    }
    problem = ""
    if len(specs) != specs[0]["pool"].get("resourceSliceCount"):
        problem = "is currently being updated"
    elif len({d.id for d in devices}) != len(devices):
        problem = "is currently invalid"
    late = any(d.raw.get("bindingConditions") for d in devices)
    return Pool(pool_id, devices, problem, _nodes(devices), totals, late)


def _nodes(devices: Iterable[Device]) -> frozenset[str] | None:
    names = [d.place.get("nodeName") for d in devices]
    return frozenset(n for n in names if n) if all(names) else None


def _device(pool_id: PoolId, raw: Obj, spec: Obj) -> Device:
    taints = tuple((t["key"], t.get("value") or "", t["effect"]) for t in raw.get("taints") or () if t["effect"] != "None")
    counters = tuple(
        ((used["counterSet"], name), quantity.parse(counter["value"]).nano)
        for used in raw.get("consumesCounters") or ()
        for name, counter in used["counters"].items()
    )
    place = raw if spec.get("perDeviceNodeSelection") else spec
    return Device((*pool_id, raw["name"]), raw, place, taints, counters)
