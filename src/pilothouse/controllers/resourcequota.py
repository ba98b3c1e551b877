"""resourcequota-controller: counts again what quotas bound, where admission's sums may be wrong. Decisions are in `resourcequota_plan`.

Admission adds what is created; this controller takes away what has gone, and counts everything when a quota is new and every five
minutes. Only resources that some quota bounds are followed. Reference: ResourceQuota (v1).
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES, Kind
from pilothouse.client.reconcile.kit import Cache, Context, Controller, log
from pilothouse.client.reconcile.objects import Obj, split_key
from pilothouse.controllers import indexes
from pilothouse.controllers import resourcequota_plan as plans
from pilothouse.controllers.discovery import discover

#: Seconds between two full counts, and between two looks at what is served.
RESYNC, REDISCOVER = 300.0, 30.0
#: Seconds after a write at which it is checked: an object that was let in meanwhile may not have been counted.
SETTLE = 5.0
#: Kinds whose updates can use less (or more) than before.
_UPDATED = (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS)


class ResourceQuotaController(Controller):
    name = "resourcequota-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.quotas = self.cache(RESOURCE_QUOTAS)
        self.followed: dict[Kind, Cache] = {}
        self._kinds: list[Kind] = []
        self._kinds_at = float("-inf")
        indexes.add(self.quotas, "namespace")
        self.quotas.add_handler(self._quota_changed)

    def _quota_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and (old is None or old["spec"] != new["spec"]):
            self.enqueue(new)

    def _object_changed(self, kind: Kind, old: Obj | None, new: Obj | None) -> None:
        if old is None or (new is not None and kind not in _UPDATED):
            return
        quotas = [q for q in self.quotas.indexed("namespace", old["metadata"]["namespace"]) if plans.concerned(q, (kind,))]
        if quotas and (new is None or plans.gives_back(kind, old, new, self.clock.now())):
            for quota in quotas:
                self.enqueue(quota)

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._count_everything(),)

    async def _count_everything(self) -> None:
        async for _ in self.every(RESYNC):
            for quota in self.quotas.list():
                self.enqueue(quota)

    # Sync -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        namespace, name = split_key(key)
        if self.quotas.get(namespace, name) is None:
            return
        kinds = await self._served()
        quota = self.quotas.get(namespace, name)
        if quota is None:
            return
        bounded = plans.concerned(quota, kinds)
        await self._follow(bounded)
        objects = {kind: list(self.followed[kind].list(namespace)) for kind in bounded}
        status = plans.status(quota, plans.used(quota, objects, self.clock.now()))
        if status is not None:
            await self.api.update(RESOURCE_QUOTAS, {**quota, "status": status}, "status")
            self.queue.add_after(key, SETTLE)

    async def _served(self) -> list[Kind]:
        """The kinds that can be counted, as of half a minute ago."""
        if self.clock.monotonic() - self._kinds_at > REDISCOVER:
            try:
                found = await discover(self.api)
            except (StatusError, OSError) as error:
                if not self._kinds:
                    raise
                log.warning("%s: discovery: %s", self.name, error)
            else:
                able = found.with_verbs("create", "delete", "list", "watch")
                self._kinds = [s.kind for s in able if s.kind.namespaced and s.kind.plural != "events"]
            self._kinds_at = self.clock.monotonic()
        return self._kinds

    async def _follow(self, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            if kind not in self.followed:
                cache = self.followed[kind] = self.context.metadata_cache(kind)
                cache.add_handler(lambda old, new, kind=kind: self._object_changed(kind, old, new))  # type: ignore[misc]
        await self.context.synced([self.followed[kind] for kind in kinds])
