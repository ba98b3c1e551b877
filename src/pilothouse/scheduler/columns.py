"""Columns: one number per row of the node table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Column:
    """A growable int64 column."""

    __slots__ = ("data",)

    def __init__(self, capacity: int, fill: int = 0) -> None:
        self.data: npt.NDArray[np.int64] = np.full(capacity, fill, dtype=np.int64)

    def grow(self, capacity: int, fill: int = 0) -> None:
        bigger = np.full(capacity, fill, dtype=np.int64)
        bigger[: len(self.data)] = self.data
        self.data = bigger
