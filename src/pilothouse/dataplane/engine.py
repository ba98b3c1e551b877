"""What carries traffic, as whoever directs it sees it. Two engines do it: `embedded`, always there, and `haproxy`, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pilothouse.dataplane.model import Front, Pool


class Engine(Protocol):
    """Pools and fronts by name. Telling one again replaces it; telling what is already so costs nothing.

    What was told has taken effect when the call returns, within 200 ms. Connections that are open stay, also where a pool or a front
    changes: an endpoint that leaves its pool gets no new connection or request, and what runs there runs to its end. A try at an endpoint that
    refuses the connection, before anything was sent, goes on to another endpoint of the pool.
    """

    name: str

    async def start(self) -> None:
        """Begin. OSError if that cannot be."""

    async def stop(self) -> None:
        """Close every front. Nothing is left behind."""

    async def set_pool(self, pool: Pool) -> None:
        """Pools may be told before or after the fronts that name them; a pool that was never told has no endpoints."""

    async def drop_pool(self, name: str) -> None: ...

    async def set_front(self, front: Front) -> None:
        """OSError where the address cannot be listened on, ValueError for what the engine cannot do; the front is then as it was before."""

    async def drop_front(self, name: str) -> None: ...

    def counters(self) -> Mapping[str, FrontCounters]:
        """By front."""
        ...


class FrontCounters(Protocol):
    """What a front has carried since it is there. `codes` counts answers by class: "2xx" and so on."""

    @property
    def connections(self) -> int: ...

    @property
    def requests(self) -> int: ...

    @property
    def bytes_in(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...

    @property
    def codes(self) -> Mapping[str, int]: ...
