"""The volumes of a storage class that nobody has claimed, ordered so that the smallest that fits is found for all rows at once.

Volumes that are equal in mode, attributes class and access modes are a `Lot`, sorted by size. For every volume its rows (the nodes that reach
it) lie one after another in one array; who is taken is a mask over that array. So a choice is a few array operations, and a
volume that is taken costs the setting of its few places. Volumes that come, and nodes that change, make a shelf be filled anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.api.claims import capacity, is_for, requested
from pilothouse.scheduler.claims import VOLUMES, affinity_terms, fits_claim
from pilothouse.scheduler.noderows import rows_matching_terms
from pilothouse.scheduler.stock import CLASS, Stock
from pilothouse.scheduler.table import Ints, Mask, NodeTable

Obj = dict[str, Any]
_Kind = tuple[str, str, frozenset[str]]


def kind_of(volume: Obj) -> _Kind:
    spec = volume["spec"]
    mode, attributes = spec.get("volumeMode") or "Filesystem", spec.get("volumeAttributesClassName") or ""
    return mode, attributes, frozenset(spec.get("accessModes") or ())


def is_free(volume: Obj) -> bool:
    meta, phase = volume["metadata"], (volume.get("status") or {}).get("phase")
    return not volume["spec"].get("claimRef") and phase == "Available" and "deletionTimestamp" not in meta


@dataclass(slots=True)
class Lot:
    """Volumes of one kind, smallest first."""

    volumes: list[Obj]
    sizes: Ints
    starts: Ints  # where each volume's rows begin in `rows`, and where they end
    rows: Ints
    owner: Ints  # for each of `rows` the volume
    free: Mask  # for each of `rows`
    anywhere: Mask  # volumes that every node reaches
    free_volumes: Mask

    def set_free(self, place: int, free: bool) -> None:
        self.free[self.starts[place] : self.starts[place + 1]] = free
        self.free_volumes[place] = free

    def smallest(self, wanted: int, size: int) -> Ints:
        """Per row the first free volume of at least `wanted` bytes; -1 where there is none. `size`: how many rows there are."""
        first = int(np.searchsorted(self.sizes, wanted))
        begin = int(self.starts[first])
        free = self.free[begin:]
        chosen = np.full(size, -1, dtype=np.int64)
        # Of several volumes on one row the last one written stays: the smallest is written last.
        chosen[self.rows[begin:][free][::-1]] = self.owner[begin:][free][::-1]
        common = np.flatnonzero(self.anywhere[first:] & self.free_volumes[first:])
        if len(common):
            place = first + int(common[0])
            chosen[(chosen < 0) | (chosen > place)] = place
        return chosen


def make_lot(volumes: list[Obj], table: NodeTable) -> Lot:
    volumes = sorted(volumes, key=lambda v: (capacity(v), v["metadata"]["name"]))
    reached = [affinity_terms(v) for v in volumes]
    nothing = np.zeros(0, dtype=np.int64)
    rows = [nothing if terms is None else np.flatnonzero(rows_matching_terms(table, terms)) for terms in reached]
    lengths = np.array([len(r) for r in rows], dtype=np.int64)
    count = len(volumes)
    return Lot(
        volumes,
        np.array([capacity(v) for v in volumes], dtype=np.int64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([nothing, *rows]),
        np.repeat(np.arange(count, dtype=np.int64), lengths),
        np.ones(int(lengths.sum()), dtype=np.bool_),
        np.array([terms is None for terms in reached], dtype=np.bool_),
        np.ones(count, dtype=np.bool_),
    )


class Shelf:
    """One class's volumes on one table."""

    def __init__(self, stock: Stock, table: NodeTable, storage_class: str) -> None:
        self.table = table
        self._stock = stock
        self._class = storage_class
        self._lots: dict[_Kind, Lot] = {}
        self._places: dict[str, tuple[_Kind, int]] = {}  # volume -> lot and place
        self._kept_for: dict[tuple[str, str], dict[str, None]] = {}  # claim -> volumes with its claimRef
        self._seen = -1
        self._nodes = -1

    def choose(self, claim: Obj) -> tuple[list[Obj], Ints]:
        """Volumes, and per row the place in them of the one that the claim would get (-1: none)."""
        self._refresh()
        spec, wanted, size = claim["spec"], requested(claim), self.table.capacity
        mode, attributes = spec.get("volumeMode") or "Filesystem", spec.get("volumeAttributesClassName") or ""
        modes = set(spec.get("accessModes") or ())
        volumes: list[Obj] = []
        chosen = np.full(size, -1, dtype=np.int64)
        sizes = np.full(size, np.iinfo(np.int64).max, dtype=np.int64)
        for kind, lot in self._lots.items():
            if kind[:2] != (mode, attributes) or not modes <= kind[2]:
                continue
            found = lot.smallest(wanted, size)
            here = np.where(found >= 0, lot.sizes[np.maximum(found, 0)], sizes) if len(lot.sizes) else sizes
            better = (found >= 0) & (here < sizes)
            chosen[better] = found[better] + len(volumes)
            sizes[better] = here[better]
            volumes = volumes + lot.volumes if volumes else lot.volumes
        for volume in self._kept(claim, wanted):
            terms = affinity_terms(volume)
            chosen[self.table.present if terms is None else rows_matching_terms(self.table, terms)] = len(volumes)
            volumes = [*volumes, volume]
        chosen[~self.table.present] = -1
        return volumes, chosen

    def _kept(self, claim: Obj, wanted: int) -> list[Obj]:
        """Volumes that are kept for the claim, the one to take last."""
        meta = claim["metadata"]
        names = self._kept_for.get((meta.get("namespace") or "", meta["name"]), ())
        found = [v for v in (self._stock.get(VOLUMES, "", n) for n in names) if v is not None]
        fitting = [v for v in found if is_for(v, claim) and fits_claim(claim, v, True) and capacity(v) >= wanted]
        return sorted(fitting, key=capacity, reverse=True)

    def _refresh(self) -> None:
        version, nodes = self._stock.version(VOLUMES), int(self.table.static.data.max(initial=0))
        if version == self._seen and nodes == self._nodes:
            return
        keys = self._stock.changed_since(VOLUMES, self._seen) if self._seen >= 0 and nodes == self._nodes else None
        if keys is None or not all(self._take_in(name) for _, name in keys):
            self._fill()
        self._seen, self._nodes = version, nodes

    def _take_in(self, name: str) -> bool:
        """A volume's new state. False if the shelf must be filled anew."""
        volume = self._stock.get(VOLUMES, "", name)
        if volume is not None and (volume["spec"].get("storageClassName") or "") != self._class:
            volume = None
        if volume is not None:
            self._note_claim(volume)
        place = self._places.get(name)
        if place is None:
            return volume is None or not is_free(volume)
        lot = self._lots[place[0]]
        if volume is None or not is_free(volume):
            lot.set_free(place[1], False)
            return True
        if kind_of(volume) != place[0] or not _same_reach(volume, lot.volumes[place[1]]):
            return False
        lot.volumes[place[1]] = volume
        lot.set_free(place[1], True)
        return True

    def _note_claim(self, volume: Obj) -> None:
        """Remember whom a volume is kept for."""
        ref = volume["spec"].get("claimRef")
        if ref:
            key = ref.get("namespace") or "", ref.get("name") or ""
            self._kept_for.setdefault(key, {})[volume["metadata"]["name"]] = None

    def _fill(self) -> None:
        self._places, self._kept_for = {}, {}
        lots: dict[_Kind, list[Obj]] = {}
        for volume in self._stock.indexed(VOLUMES, CLASS, self._class):
            self._note_claim(volume)
            if is_free(volume):
                lots.setdefault(kind_of(volume), []).append(volume)
        self._lots = {kind: make_lot(volumes, self.table) for kind, volumes in lots.items()}
        for kind, lot in self._lots.items():
            self._places.update({v["metadata"]["name"]: (kind, n) for n, v in enumerate(lot.volumes)})


def _same_reach(one: Obj, other: Obj) -> bool:
    return affinity_terms(one) == affinity_terms(other) and capacity(one) == capacity(other)


def shelf_of(stock: Stock, table: NodeTable, storage_class: str) -> Shelf:
    """The shelf of a class, kept with the stock."""
    key = "shelf", storage_class
    found: Shelf | None = stock.memo.get(key)
    if found is None or found.table is not table:
        found = stock.memo[key] = Shelf(stock, table, storage_class)
    return found
