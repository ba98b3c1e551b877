"""Short claims among all API servers on one store: of two that reach for the same number at the same time, one gets it.

A claim is a key of the store, made by compare-and-swap. Whoever gets it has also seen all that was written before: a server that
stored something under its claim and then gave the claim up cannot be overlooked by the next one. Claims end by themselves, so a
server that dies holds nothing for long. Where one process has the store to itself nothing is written.
"""

from __future__ import annotations

import logging

from pilothouse.apiserver.watchcache import Feed
from pilothouse.store.interface import CasFailed, Store, StoreError

log = logging.getLogger(__name__)

#: Longer than any request may take.
TTL = 120
#: How long a claim waits for the caches to see what was written before it.
WAIT = 10.0
_PREFIX = "/registry/ranges/"


class Claim:
    """What one request holds, until `release`."""

    def __init__(self, store: Store | None = None, key: str = "", revision: int = 0) -> None:
        self._store = store
        self._key = key
        self._revision = revision

    async def release(self) -> None:
        """Give it up. A store that fails is no reason to fail the request, which is done: the claim ends by itself."""
        if self._store is None:
            return
        try:
            await self._store.delete(self._key, self._revision)
        except (CasFailed, StoreError) as why:
            log.warning("the claim %s is left to expire: %s", self._key, why)


class Claims:
    """Takes claims; `shared` says that other servers write to the store too."""

    def __init__(self, store: Store, feed: Feed, shared: bool) -> None:
        self._store = store
        self._feed = feed
        self._shared = shared

    async def take(self, name: str) -> Claim | None:
        """A claim by its name, such as `servicenodeports/30000`; None if somebody has it. StoreError if the store cannot tell."""
        if not self._shared:
            return Claim()
        key = _PREFIX + name
        try:
            made = await self._store.put(key, b"{}", 0, TTL)
        except CasFailed:
            return None
        claim = Claim(self._store, key, made.mod_revision)
        if await self._feed.reached(made.mod_revision, WAIT):
            return claim
        await claim.release()
        raise StoreError("the watch of the store is too far behind to hand out a number")
