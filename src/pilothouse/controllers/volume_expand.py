"""persistentvolume-expander-controller: says of claims that grow that their CSI driver's resizer has to do it.

Every volume that can grow belongs to a CSI driver by now, so that nothing is left to expand here (KEP-625).
"""

from __future__ import annotations

from pilothouse.api import quantity
from pilothouse.api.claims import requested
from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, split_key, uid
from pilothouse.controllers.volumes import phase


def grows(claim: Obj) -> bool:
    """Whether a bound claim asks for more than it has."""
    has = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    return phase(claim) == "Bound" and has is not None and requested(claim) > quantity.value(has)


class ExpandController(Controller):
    name = "persistentvolume-expander-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.claims, self.volumes = self.cache(PERSISTENT_VOLUME_CLAIMS), self.cache(PERSISTENT_VOLUMES)
        #: The size that each claim was last told about.
        self._told: dict[str, int] = {}
        self.claims.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            self._told.pop(uid(old or {}), None)
        elif grows(new):
            self.enqueue(new)

    async def sync(self, key: str) -> None:
        claim = self.claims.get(*split_key(key))
        if claim is None or not grows(claim) or self._told.get(uid(claim)) == requested(claim):
            return
        volume = self.volumes.get("", claim["spec"].get("volumeName") or "")
        if volume is None:
            return
        self._told[uid(claim)] = requested(claim)
        message = "waiting for an external controller to expand this PVC"
        self.context.event(claim, PERSISTENT_VOLUME_CLAIMS, "Normal", "ExternalExpanding", message)
