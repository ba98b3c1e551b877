"""What carries the ways out: `userspace` or `nftables`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pilothouse.nodes.proxy.ways import Way

#: By Service (`namespace/name`), all its ways; none: the Service is gone.
Changes = Mapping[str, tuple[Way, ...]]


class Backend(Protocol):
    """Ways by Service. What was told has taken effect when the call returns."""

    name: str
    #: Whether this machine reaches Services and pods at the addresses that the cluster knows them by.
    reaches_services: bool
    reaches_pods: bool

    async def start(self) -> None:
        """OSError if this machine does not allow it."""

    async def apply(self, changes: Changes) -> Mapping[str, str]:
        """Make it so. By Service, what could not be done."""
        ...

    async def check(self) -> None:
        """Put right what somebody else has taken away. OSError if that cannot be; called every half minute."""

    async def stop(self) -> None:
        """Leave nothing behind."""
