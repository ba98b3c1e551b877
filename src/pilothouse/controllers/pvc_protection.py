"""persistentvolumeclaim-protection-controller: a claim that is being deleted stays until no pod on a node has it among its volumes.

Finished pods count as well: their volumes may still be mounted. Reference: Persistent Volumes, Storage Object in Use Protection.
"""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUME_CLAIMS, PODS
from pilothouse.client.reconcile.kit import Context
from pilothouse.client.reconcile.objects import Obj, key
from pilothouse.controllers.protection import ProtectionController
from pilothouse.controllers.pv_binder import claims_used
from pilothouse.controllers.volumes import uses


class PVCProtectionController(ProtectionController):
    name = "persistentvolumeclaim-protection-controller"
    kind = PERSISTENT_VOLUME_CLAIMS
    finalizer = "kubernetes.io/pvc-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods = self.cache(PODS)
        self.pods.add_index("claims", claims_used)
        self.pods.add_handler(self._pod_changed)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            for each in claims_used(old):
                self.queue.add(each)

    async def in_use(self, obj: Obj) -> bool:
        if any(_holds(pod, obj) for pod in self.pods.indexed("claims", key(obj))):
            return True
        listed = await self.api.list(PODS, obj["metadata"]["namespace"])
        return any(_holds(pod, obj) for pod in listed["items"])


def _holds(pod: Obj, claim: Obj) -> bool:
    return bool(pod["spec"].get("nodeName")) and uses(pod, claim)
