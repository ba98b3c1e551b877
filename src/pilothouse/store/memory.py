"""The memory engine: nothing survives the process. For tests and simulations."""

from __future__ import annotations

import asyncio

from pilothouse.store.interface import Change
from pilothouse.store.mvcc import MvccStore


class MemoryStore(MvccStore):
    """Writes are safe as soon as the event loop turns; those of one turn are told to watchers together."""

    keep_bytes = 64 * 1024 * 1024
    _scheduled = False

    def _persist(self, change: Change, expires: float) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._committed(self._revision)
