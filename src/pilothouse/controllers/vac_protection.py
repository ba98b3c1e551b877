"""volumeattributesclass-protection-controller: a class that is being deleted stays while a claim or a volume names it (KEP-3751)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from pilothouse.client.reconcile.kit import Context
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers.protection import ProtectionController


def classes_named(obj: Obj) -> Iterable[str]:
    """The classes that a claim or a volume wants, has, or is changing to."""
    status = obj.get("status") or {}
    changing = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    found = (obj["spec"].get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), changing)
    return {name for name in found if name}


class VACProtectionController(ProtectionController):
    name = "volumeattributesclass-protection-controller"
    kind = VOLUME_ATTRIBUTES_CLASSES
    finalizer = "kubernetes.io/vac-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.users = (self.cache(PERSISTENT_VOLUME_CLAIMS), self.cache(PERSISTENT_VOLUMES))
        for cache in self.users:
            cache.add_index("attributes class", classes_named)
            cache.add_handler(self._user_changed)

    def _user_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, after = set(classes_named(old) if old else ()), set(classes_named(new) if new else ())
        for name in before - after:
            self.queue.add(name)

    async def in_use(self, obj: Obj) -> bool:
        name = obj["metadata"]["name"]
        return any(next(iter(cache.indexed("attributes class", name)), None) is not None for cache in self.users)
