"""Connections to backends: which protocol a pool's are, how one is made, and the one that waits to be used again.

`http1.py`'s and `http2.py`'s counterparts towards backends are `upstream1.py` and `upstream2.py`; an exchange sees only an `Upstream`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pilothouse.dataplane.embedded.closed import CLOSED
from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.pools import PoolState, Target

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine
    from pilothouse.dataplane.embedded.exchange import Exchange
    from pilothouse.dataplane.embedded.upstream1 import Http1Upstream
    from pilothouse.dataplane.embedded.upstream2 import Http2Upstream


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
    if pool.pool.protocol == "http1":
        from pilothouse.dataplane.embedded.upstream1 import Http1Upstream

        one = Http1Upstream(engine, target)
        await _open(engine, pool, target, one)
        return one
    async with target.connecting:  # who comes meanwhile shares what is made here
        shared = ready(pool, target)
        if shared is not None:
            return shared
        from pilothouse.dataplane.embedded.upstream2 import Http2Upstream

        many = Http2Upstream(engine, target, pool.pool.tls is not None)
        await _open(engine, pool, target, many)
        return many.first()


async def _open(engine: EmbeddedEngine, pool: PoolState, target: Target, protocol: Http1Upstream | Http2Upstream) -> None:
    tls = pool.pool.tls
    if tls is not None and pool.context is None:
        from pilothouse.dataplane.embedded.certificates import client_context

        pool.context = client_context(tls, pool.pool.protocol == "http2")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(engine.limits.connect):
            transport, _ = await loop.create_connection(
                lambda: protocol,
                target.host,
                target.port,
                ssl=pool.context,
                server_hostname=None if tls is None else tls.hostname,
            )
    except BaseException:
        protocol.transport = CLOSED  # it may have had one, and is not told that it is gone
        raise
    if tls is not None and tls.names:
        from pilothouse.dataplane.embedded.certificates import has_name

        if not has_name(transport.get_extra_info("peercert"), tls.names):
            transport.abort()
            raise ConnectionError(f"{target.host}:{target.port} has none of the names {', '.join(tls.names)}")
