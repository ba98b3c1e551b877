"""Why an address or a port could not be had."""

from __future__ import annotations


class AllocationError(Exception):
    """The text is what the user is shown."""


class AlreadyAllocated(AllocationError):
    """Somebody has it."""


class Full(AllocationError):
    """Nothing is left."""

    def __init__(self) -> None:
        super().__init__("range is full")
