"""What the three protection controllers have in common: a finalizer that stays on an object for as long as something uses it.

New objects have the finalizer from admission (StorageObjectInUseProtection); those that came another way are given it here.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, is_deleting, split_key, with_metadata


class ProtectionController(Controller):
    """Subclasses name the kind and the finalizer, and say whether an object is in use."""

    kind: ClassVar[Kind]
    finalizer: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.objects = self.cache(self.kind)
        self.follow(self.objects)

    async def in_use(self, obj: Obj) -> bool:
        """Whether the object must stay; where data depends on it, asked of the server and not of a cache alone."""
        raise NotImplementedError

    async def sync(self, key: str) -> None:
        obj = self.objects.get(*split_key(key))
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or []
        protected = self.finalizer in finalizers
        if is_deleting(obj):
            if protected and not await self.in_use(obj):
                left = [f for f in finalizers if f != self.finalizer]
                await self.api.update(self.kind, with_metadata(obj, finalizers=left or None))
        elif not protected:
            await self.api.update(self.kind, with_metadata(obj, finalizers=[*finalizers, self.finalizer]))
