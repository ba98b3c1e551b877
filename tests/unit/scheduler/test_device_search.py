"""The search for devices finds a fit exactly when trying everything finds one, and what it finds is one."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from test_devices import DRIVER, claim, device_class, device_slice, exactly, gpu
from world import Obj

from pilothouse.scheduler.devices.inventory import Device, Inventory
from pilothouse.scheduler.devices.requests import Wish, parse_wish
from pilothouse.scheduler.devices.search import Allocation, allocate
from pilothouse.scheduler.stock import Stock

MODELS = ("x", "y", "z")


def some_stock(chance: random.Random) -> Stock:
    """A few devices that differ in model and draw on shared counters, some of them taken."""

    def device(n: int) -> Obj:
        used = [{"counterSet": "power", "counters": {"watts": {"value": str(chance.randrange(1, 4))}}}]
        return gpu(f"g{n}", chance.choice(MODELS), **({"consumesCounters": used} if chance.random() < 0.5 else {}))

    devices = [device(n) for n in range(chance.randrange(1, 6))]
    counters = [{"name": "power", "counters": {"watts": {"value": str(chance.randrange(2, 8))}}}]
    slices = [device_slice("a", *devices, of=2), device_slice("a", of=2, name="a-counters", sharedCounters=counters)]
    taken = claim("taken", exactly())
    result = {"request": "r", "driver": DRIVER, "pool": "a", "device": f"g{chance.randrange(6)}"}
    taken["status"] = {"allocation": {"devices": {"results": [result]}}}
    return Stock({"resourceslices": slices, "resourceclaims": [taken], "deviceclasses": [device_class()]})


def some_claim(name: str, chance: random.Random) -> Obj:
    def request(n: int) -> Obj:
        wanted = [f"device.attributes['{DRIVER}'].model == '{chance.choice(MODELS)}'"] if chance.random() < 0.4 else []
        return exactly(f"r{n}", chance.randrange(1, 3), *wanted)

    kinds = [
        {"matchAttribute": f"{DRIVER}/model"},
        {"distinctAttribute": f"{DRIVER}/model"},
        {"matchAttribute": f"{DRIVER}/model", "requests": ["r0"]},
    ]
    constraints = [chance.choice(kinds)] if chance.random() < 0.6 else None
    return claim(name, *(request(n) for n in range(chance.randrange(1, 3))), constraints=constraints)


def slots(wishes: Sequence[Wish]) -> list[tuple[int, str, tuple[str, ...]]]:
    """(claim, request, selectors) of each device that is wanted."""
    return [
        (n, r.name, r.options[0].expressions)
        for n, wish in enumerate(wishes)
        for r in wish.requests
        for _ in range(r.options[0].count or 0)
    ]


def fits(wishes: Sequence[Wish], inventory: Inventory, chosen: Sequence[Device]) -> bool:
    """Whether these devices, one for each slot, satisfy everything."""
    if len({d.id for d in chosen}) < len(chosen) or any(d.id in inventory.uses for d in chosen):
        return False
    places = slots(wishes)
    if not all(d.matches(e) for d, (_, _, expressions) in zip(chosen, places, strict=True) for e in expressions):
        return False
    for n, wish in enumerate(wishes):
        for c in wish.constraints:
            mine = [
                d for d, (m, name, _) in zip(chosen, places, strict=True) if m == n and (not c.requests or name in c.requests)
            ]
            values = [d.raw["attributes"]["model"]["string"] for d in mine]
            if len(set(values)) != (len(values) if c.distinct else min(1, len(values))):
                return False
    pool = next(iter(inventory.pools.values()))
    used = Counter(inventory.counters_used(pool))
    for d in chosen:
        used.update(dict(d.counters))
    return all(amount <= pool.totals.get(key, 0) for key, amount in used.items() if any(key in dict(d.counters) for d in chosen))


def everything(wishes: Sequence[Wish], inventory: Inventory) -> Iterator[tuple[Device, ...]]:
    devices = next(iter(inventory.pools.values())).devices
    return itertools.permutations(devices, len(slots(wishes)))


@pytest.mark.parametrize("seed", range(120))
def test_a_fit_is_found_where_there_is_one(seed: int) -> None:
    chance = random.Random(seed)
    stock = some_stock(chance)
    wishes = [parse_wish(some_claim(f"c{n}", chance)["spec"], stock) for n in range(chance.randrange(1, 3))]
    inventory = Inventory(stock)
    inventory.refresh()
    found: Allocation | None = allocate(wishes, inventory, "a", {})
    there_is_one = any(fits(wishes, inventory, chosen) for chosen in everything(wishes, inventory))
    assert (found is not None) == there_is_one
    if found is not None:
        assert fits(wishes, inventory, [g.device for of_claim in found for g in of_claim])
