"""Pools as they are now: which endpoint is next, who stays with which, and the connections that wait to be used again.

An endpoint keeps its state (idle connections, how much runs there) for as long as it stays in its pool, however often the pool is told. One
that leaves loses its idle connections at once and is marked `gone`, so that what runs there still is not kept when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Literal, Protocol

from pilothouse.dataplane.model import Endpoint, Pool

#: Seconds for which an endpoint that could not be reached comes last.
SHUNNED = 1.0
Balance = Literal["round_robin", "least_connections"]
#: Clients remembered for affinity before those whose time is over are forgotten.
_REMEMBERED = 4096


class Kept(Protocol):
    """A connection to an endpoint that waits for a request, until when at most."""

    expires: float
    #: Something runs on it.
    busy: bool

    def close(self) -> None: ...


class Target:
    """One endpoint of a pool."""

    __slots__ = ("active", "connecting", "gone", "host", "idle", "port", "sessions", "shared", "shunned_until")

    def __init__(self, endpoint: Endpoint) -> None:
        self.host, self.port = endpoint.host, endpoint.port
        self.active = 0
        self.gone = False
        #: It could not be reached: others are asked first until then.
        self.shunned_until = 0.0
        #: Held while an HTTP/2 connection is made.
        self.connecting = asyncio.Lock()
        #: HTTP/1.1 connections without a request, the last used last.
        self.idle: list[Any] = []
        #: HTTP/2 connections, which carry many.
        self.shared: list[Any] = []
        #: Told when the endpoint leaves (UDP sessions, which would otherwise go on for ever).
        self.sessions: set[Callable[[], None]] = set()

    def end_one(self) -> None:
        self.active -= 1

    def leave(self) -> None:
        self.gone = True
        idle, self.idle = self.idle, []
        shared, self.shared = self.shared, []
        for kept in idle + shared:
            kept.close()
        for ended in list(self.sessions):
            ended()


class PoolState:
    """A pool and its endpoints' state."""

    __slots__ = ("_clients", "_next", "_targets", "context", "pool", "targets")

    def __init__(self, pool: Pool) -> None:
        self.pool = Pool(pool.name)
        self._targets: dict[Endpoint, Target] = {}
        self.targets: list[Target] = []
        self._next = 0
        self._clients: dict[str, tuple[Target, float]] = {}
        #: The TLS settings towards the endpoints, made when first needed.
        self.context: Any = None
        self.tell(pool)

    def tell(self, pool: Pool) -> None:
        """Take a new description. What the endpoints are spoken to with is theirs for life, so another protocol means other endpoints."""
        if pool == self.pool:
            return
        before = self._targets
        if replace(pool, endpoints=(), affinity_seconds=0) != replace(self.pool, endpoints=(), affinity_seconds=0):
            before, self.context = {}, None
            left = list(self._targets.values())
        else:
            wanted = set(pool.endpoints)
            left = [target for endpoint, target in before.items() if endpoint not in wanted]
        self.pool = pool
        self._targets = {endpoint: before.get(endpoint) or Target(endpoint) for endpoint in pool.endpoints}
        self.targets = list(self._targets.values())
        for target in left:
            target.leave()
        if not pool.affinity_seconds:
            self._clients.clear()

    def choose(self, client: str, avoid: Collection[Target], now: float, balance: Balance) -> Target | None:
        """The endpoint for a client's next connection or request that is none of `avoid`; None if there is none."""
        if not self.pool.affinity_seconds:
            return self._pick(avoid, now, balance)
        known = self._clients.pop(client, None)
        target = None if known is None or known[1] < now or known[0].gone or known[0] in avoid else known[0]
        target = target or self._pick(avoid, now, balance)
        if target is not None:
            if len(self._clients) >= _REMEMBERED:
                self._clients = {name: kept for name, kept in self._clients.items() if kept[1] >= now}
            self._clients[client] = (target, now + self.pool.affinity_seconds)
        return target

    def _pick(self, avoid: Collection[Target], now: float, balance: Balance) -> Target | None:
        targets = self.targets
        if not targets:
            return None
        at = self._next = (self._next + 1) % len(targets)
        if balance == "round_robin" and not avoid and targets[at].shunned_until <= now:
            return targets[at]
        left = [target for target in targets[at:] + targets[:at] if target not in avoid]
        left = [target for target in left if target.shunned_until <= now] or left
        if balance == "least_connections":
            return min(left, key=lambda target: target.active, default=None)
        return left[0] if left else None

    def sweep(self, now: float) -> None:
        """Close connections that nothing has run on for too long."""
        for target in self.targets:
            for kept in [kept for kept in target.idle + target.shared if kept.expires < now and not kept.busy]:
                kept.close()

    def close(self) -> None:
        """Forget the pool: its endpoints leave."""
        self.tell(Pool(self.pool.name))
