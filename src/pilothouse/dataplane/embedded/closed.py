"""What stands for a transport that is gone.

A protocol may be called on for a moment after its connection has ended, by whoever has not heard of it yet. uvloop raises then, and does not
say before that it would (`is_closing` is False where the other side ended it). So a protocol whose connection is lost takes this in its place.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Closed(asyncio.Transport):
    """Takes everything and does nothing."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        """It is."""

    def abort(self) -> None:
        """There is nothing."""

    def write(self, data: Any) -> None:
        """Nobody would read it."""

    def write_eof(self) -> None:
        """Nobody would read it."""

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing comes."""

    def resume_reading(self) -> None:
        """Nothing comes."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""


CLOSED = Closed()
