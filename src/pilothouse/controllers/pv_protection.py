"""persistentvolume-protection-controller: a volume that is being deleted stays while it is bound to a claim."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUMES
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers.protection import ProtectionController
from pilothouse.controllers.volumes import phase


class PVProtectionController(ProtectionController):
    name = "persistentvolume-protection-controller"
    kind = PERSISTENT_VOLUMES
    finalizer = "kubernetes.io/pv-protection"

    async def in_use(self, obj: Obj) -> bool:
        return phase(obj) == "Bound"
