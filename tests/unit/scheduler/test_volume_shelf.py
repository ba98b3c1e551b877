"""What a shelf offers equals what a look at every volume finds, after any sequence of changes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from world import Obj, World, claim, node, storage_class, volume

from pilothouse.api.claims import capacity
from pilothouse.scheduler.claims import affinity_terms, candidates
from pilothouse.scheduler.noderows import rows_matching_terms
from pilothouse.scheduler.volume_shelf import shelf_of


def plainly(world: World, wish: Obj) -> dict[str, int]:
    """By node the size of the volume that a claim would get."""
    out: dict[str, int] = {}
    for v in candidates(wish, world.stock):
        terms = affinity_terms(v)
        rows = world.table.present if terms is None else rows_matching_terms(world.table, terms)
        for i in np.flatnonzero(rows):
            row = world.table.rows[i]
            if row is not None:
                out.setdefault(row.name, capacity(v))
    return out


def by_shelf(world: World, wish: Obj) -> dict[str, int]:
    volumes, chosen = shelf_of(world.stock, world.table, "local").choose(wish)
    rows = ((world.table.rows[i], int(chosen[i])) for i in np.flatnonzero(chosen >= 0))
    return {row.name: capacity(volumes[place]) for row, place in rows if row is not None}


def some_volume(n: int, chance: random.Random) -> Obj:
    nodes = chance.choice(((), (f"n{chance.randrange(6)}",), (f"n{chance.randrange(6)}", f"n{chance.randrange(6)}")))
    made = volume(f"v{n}", f"{chance.randrange(1, 5)}Gi", chance.choice(("local", "local", "other")), nodes)
    made["metadata"]["resourceVersion"] = str(chance.random())
    if chance.random() < 0.3:
        made["spec"]["claimRef"] = {"namespace": "default", "name": f"c{chance.randrange(3)}"}
    if chance.random() < 0.2:
        made["spec"]["accessModes"] = ["ReadWriteOnce", "ReadOnlyMany"]
    made["status"]["phase"] = chance.choice(("Available", "Available", "Available", "Released"))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_a_shelf_offers_what_there_is(seed: int) -> None:
    chance = random.Random(seed)
    world = World(*(node(f"n{i}") for i in range(5)), storageclasses=[storage_class("local")])
    assumed: list[Any] = []
    for _ in range(150):
        kind = chance.random()
        v = some_volume(chance.randrange(8), chance)
        if kind < 0.4:
            world.stock.put("persistentvolumes", v)
        elif kind < 0.5:
            world.stock.remove("persistentvolumes", v)
        elif kind < 0.7 and (known := world.stock.get("persistentvolumes", "", v["metadata"]["name"])):
            assumed.append({**known, "spec": {**known["spec"], "claimRef": {"namespace": "x", "name": "y", "uid": "z"}}})
            world.stock.assume("persistentvolumes", assumed[-1])
        elif kind < 0.85 and assumed:
            world.stock.take_back("persistentvolumes", assumed.pop(chance.randrange(len(assumed))))
        elif kind < 0.9:
            world.table.remove_node(f"n{chance.randrange(6)}")
        else:
            world.table.set_node(node(f"n{chance.randrange(6)}"))
        wish = claim(f"c{chance.randrange(4)}", storage_class="local", size=f"{chance.randrange(1, 5)}Gi")
        assert by_shelf(world, wish) == plainly(world, wish)
