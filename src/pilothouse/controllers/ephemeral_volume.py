"""ephemeral-volume-controller: makes the claims of pods' generic ephemeral volumes, which live and die with their pods.

Reference: Ephemeral Volumes, generic ephemeral volumes (KEP-1698).
"""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUME_CLAIMS, PODS
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import Obj, controller_reference, controller_uid, is_deleting, key, split_key, uid
from pilothouse.controllers.volumes import ephemeral_claim


def ephemeral_volumes(pod: Obj) -> Iterator[Obj]:
    return (v for v in pod["spec"].get("volumes") or () if v.get("ephemeral") is not None)


def claim_for(pod: Obj, volume: Obj) -> Obj:
    """The claim to create."""
    template = volume["ephemeral"]["volumeClaimTemplate"]
    meta = template.get("metadata") or {}
    kept = {k: meta[k] for k in ("labels", "annotations") if meta.get(k)}
    metadata = {
        "name": ephemeral_claim(pod, volume),
        "namespace": pod["metadata"]["namespace"],
        **kept,
        "ownerReferences": [controller_reference(pod, PODS.api_version, PODS.kind)],
    }
    return {"metadata": metadata, "spec": template["spec"]}


class EphemeralVolumeController(Controller):
    name = "ephemeral-volume-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods, self.claims = self.cache(PODS), self.cache(PERSISTENT_VOLUME_CLAIMS)
        self.pods.add_handler(self._pod_changed)
        self.claims.add_handler(self._claim_changed)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and not is_deleting(new) and next(ephemeral_volumes(new), None) is not None:
            self.enqueue(new)

    def _claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        """A claim that is gone may have been a pod's, or have been in the way of one."""
        if new is None and old is not None:
            for reference in old["metadata"].get("ownerReferences") or ():
                if reference["kind"] == PODS.kind:
                    self.queue.add(f"{old['metadata']['namespace']}/{reference['name']}")

    async def sync(self, key: str) -> None:
        pod = self.pods.get(*split_key(key))
        if pod is None or is_deleting(pod):
            return
        for volume in ephemeral_volumes(pod):
            await self._make(pod, volume)

    async def _make(self, pod: Obj, volume: Obj) -> None:
        wanted = claim_for(pod, volume)
        found = self.claims.get(wanted["metadata"]["namespace"], wanted["metadata"]["name"])
        if found is None:
            await self.api.create(PERSISTENT_VOLUME_CLAIMS, wanted)
        elif controller_uid(found) != uid(pod):
            fault = f"PVC {key(found)} was not created for pod {key(pod)} (pod is not owner)"
            self.context.event(pod, PODS, "Warning", "FailedBinding", f"ephemeral volume {volume['name']}: {fault}")
            raise TryAgain(fault)
