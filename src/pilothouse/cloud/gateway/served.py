"""Which resources of the Gateway API the cluster serves: their definitions may come late, and not all of them need to be there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Cache, Context
from pilothouse.cloud.gateway.definitions import CRDS, Obj, is_served
from pilothouse.cloud.gateway.kinds import GROUP


class Served:
    """The definitions, as one controller follows them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changed = asyncio.Event()
        self.cache: Cache = context.cache(CRDS)
        self.cache.add_handler(self._told)

    def _told(self, old: Obj | None, new: Obj | None) -> None:
        if ((new or old) or {})["spec"]["group"] == GROUP:
            self._changed.set()

    def has(self, kind: Kind) -> bool:
        return is_served(self.cache.get("", f"{kind.plural}.{kind.group}"), kind.version)

    def definitions(self) -> list[Obj]:
        """Those of the Gateway API."""
        return [each for each in self.cache.list() if each["spec"]["group"] == GROUP]

    async def all_of(self, kinds: Iterable[Kind]) -> None:
        """Wait until all of these are served."""
        await self._context.synced([self.cache])
        wanted = list(kinds)
        while True:
            self.look()
            if all(self.has(kind) for kind in wanted):
                return
            await self.change()

    def look(self) -> None:
        """What is asked from here on is new: `change` waits for what comes after."""
        self._changed.clear()

    async def change(self) -> None:
        """Wait until a definition has changed since the last `look`."""
        await self._changed.wait()
