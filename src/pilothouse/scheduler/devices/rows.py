"""The first fit of every node, kept for pods that ask for the same devices and searched again only where something changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pilothouse.scheduler.devices import DEVICE_CLASSES
from pilothouse.scheduler.devices.inventory import Inventory
from pilothouse.scheduler.devices.requests import Impossible, Wish
from pilothouse.scheduler.devices.search import allocate
from pilothouse.scheduler.framework import Cycle
from pilothouse.scheduler.table import Ints, NodeTable, RowCache

TOO_FEW = "cannot allocate all claims"
#: Different wishes whose fits are kept.
KEPT = 64


class Fits:
    """Per row an Allocation, a reason (text), or None when there are not enough devices."""

    def __init__(self, table: NodeTable, inventory: Inventory, wishes: Sequence[Wish]) -> None:
        self.table = table
        self._inventory = inventory
        self._wishes = wishes
        self._seen = -1
        self._rows = RowCache(table, "static", object, self._search)
        self._codes = RowCache(table, "static", np.int64, self._code)
        self.reasons: list[str] = ["", TOO_FEW]  # by code

    def refresh(self) -> tuple[Any, Ints]:
        """The fits, and per row a code: 0 where there is one, else the number of the reason. Both are views."""
        self._inventory.refresh()
        changed = None if self._seen < 0 else self._changed()
        self._seen = self._inventory.version
        return self._rows.refresh(self.table, changed), self._codes.refresh(self.table, changed)

    def _code(self, rows: Ints) -> Ints:
        return np.array([self._number(self._rows.values[i]) for i in rows], dtype=np.int64)

    def _number(self, fit: Any) -> int:
        if not isinstance(fit, str):
            return int(fit is None)
        if fit not in self.reasons:
            self.reasons.append(fit)
        return self.reasons.index(fit)

    def _changed(self) -> set[int] | None:
        pools = self._inventory.changed_since(self._seen)
        if pools is None:
            return None
        rows: set[int] = set()
        for pool_id in pools:
            pool = self._inventory.pools.get(pool_id)
            if pool is None or pool.nodes is None:
                return None
            rows.update(row.index for row in map(self.table.by_name.get, pool.nodes) if row is not None)
        return rows

    def _search(self, rows: Ints) -> Any:
        out = np.empty(len(rows), dtype=object)
        for n, i in enumerate(rows):
            row = self.table.rows[i]
            if row is not None and self.table.present[i]:
                try:
                    out[n] = allocate(self._wishes, self._inventory, row.name, row.labels)
                except Impossible as problem:
                    out[n] = str(problem)
        return out


def fits_of(cycle: Cycle, key: bytes, wishes: Sequence[Wish]) -> Fits:
    """The fits for these wishes, to be refreshed; `key` is the same for the same wishes."""
    stock, table = cycle.view.stock, cycle.table
    inventory: Inventory | None = stock.memo.get("devices")
    if inventory is None:
        inventory = stock.memo["devices"] = Inventory(stock)
    kept: OrderedDict[tuple[bytes, int], Fits] = stock.memo.setdefault("device fits", OrderedDict())
    whole_key = key, stock.version(DEVICE_CLASSES)
    fits = kept.get(whole_key)
    if fits is None or fits.table is not table:
        fits = kept[whole_key] = Fits(table, inventory, wishes)
    kept.move_to_end(whole_key)
    if len(kept) > KEPT:
        kept.popitem(last=False)
    return fits
