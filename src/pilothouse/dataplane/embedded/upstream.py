"""Connections to backends: which protocol a pool's are, how one is made, and the one that waits to be used again.

`http1.py`'s and `http2.py`'s counterparts towards backends are `upstream1.py` and `upstream2.py`; an exchange sees only an `Upstream`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.pools import PoolState, Target

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine
    from pilothouse.dataplane.embedded.exchange import Exchange


class Upstream(Protocol):
    """A connection (or stream of one) that carries one exchange's request to a backend."""

    def begin(self, exchange: Exchange) -> None:
        """Send the head."""

    def body(self, data: bytes) -> None: ...
    def end(self, trailers: Headers) -> None: ...
    def flush(self) -> None: ...
    def drop(self) -> None:
        """Give the request up; nothing more is told to the exchange."""

    def pause(self) -> None:
        """Read no more of the answer for now."""

    def resume(self) -> None: ...


def ready(pool: PoolState, target: Target) -> Upstream | None:
    """A connection to an endpoint that can carry a request now."""
    if pool.pool.protocol == "http2":
        for shared in target.shared:
            stream = shared.stream()
            if stream is not None:
                return stream
        return None
    while target.idle:
        kept = target.idle.pop()
        if not kept.transport.is_closing():
            return kept
    return None


async def connect(engine: EmbeddedEngine, pool: PoolState, target: Target) -> Upstream:
    """A new connection. OSError if the endpoint cannot be reached, does not shake hands, or is not who it should be."""
    tls = pool.pool.tls
    http2 = pool.pool.protocol == "http2"
    context = None
    if tls is not None:
        from pilothouse.dataplane.embedded.certificates import client_context

        if pool.context is None:
            pool.context = client_context(tls, http2)
        context = pool.context
    if http2:
        from pilothouse.dataplane.embedded.upstream2 import Session as Connection  # type: ignore[import-not-found]
    else:
        from pilothouse.dataplane.embedded.upstream1 import Http1Upstream as Connection
    made = Connection(engine, target)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(engine.limits.connect):
        transport, _ = await loop.create_connection(
            lambda: made, target.host, target.port, ssl=context, server_hostname=None if tls is None else tls.hostname
        )
    if tls is not None and tls.names:
        from pilothouse.dataplane.embedded.certificates import has_name

        if not has_name(transport.get_extra_info("peercert"), tls.names):
            transport.abort()
            raise ConnectionError(f"{target.host}:{target.port} has none of the names {', '.join(tls.names)}")
    return made.first()
