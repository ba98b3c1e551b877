"""persistentvolume-binder-controller: binds claims to volumes, asks provisioners for new ones, reclaims those that were released.

Binding is four writes, each safe to repeat: the volume's claimRef, its phase, the claim's volumeName, its phase. The first, made
against the volume's revision, decides between two claims that want one volume. Which volume suits is in `pv_binder_plan`. Reference: Persistent
Volumes. Left out: the recycler and provisioners of volume plugins that ran inside the controller; volumes are made by provisioners
that follow claims (CSI, or `nodes/provisioner.py`), and a released one that nobody can delete becomes Failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pilothouse.api.claims import BIND_COMPLETED, PROVISIONED_BY, SELECTED_NODE, class_name, is_for
from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, annotations_of, is_deleting, key, uid, with_metadata
from pilothouse.controllers import pv_binder_plan as plan
from pilothouse.controllers.volumes import PROVISIONERS, claim_key, claims_of, phase

#: Drivers that took the place of the plugins that Kubernetes once had built in (KEP-625).
MIGRATED = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}
_DISPOSABLE = re.compile(r"/tmp/.+")


def _pending(claim: Obj) -> Iterable[str]:
    """The class of a claim that waits for a volume."""
    return () if claim["spec"].get("volumeName") else (class_name(claim),)


def _named(claim: Obj) -> Iterable[str]:
    name = claim["spec"].get("volumeName")
    return (name,) if name else ()


def _free(volume: Obj) -> Iterable[str]:
    """The class of a volume without a claim."""
    return () if volume["spec"].get("claimRef") else (class_name(volume),)


def _claimed(volume: Obj) -> Iterable[str]:
    found = claim_key(volume)
    return (found,) if found else ()


def claims_used(pod: Obj) -> Iterable[str]:
    """The index of pods by their claims."""
    return [f"{pod['metadata']['namespace']}/{name}" for _, name in claims_of(pod)]


class PersistentVolumeBinder(Controller):
    name = "persistentvolume-binder-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.volumes, self.claims = self.cache(PERSISTENT_VOLUMES), self.cache(PERSISTENT_VOLUME_CLAIMS)
        self.classes, self.pods = self.cache(STORAGE_CLASSES), self.cache(PODS)
        self.claims.add_index("pending by class", _pending)
        self.claims.add_index("volume name", _named)
        self.volumes.add_index("free by class", _free)
        self.volumes.add_index("claim", _claimed)
        self.pods.add_index("claims", claims_used)
        #: What was last said about each claim: an Event tells of a change, not of each look.
        self._told: dict[str, str] = {}
        self.claims.add_handler(self._claim_changed)
        self.volumes.add_handler(self._volume_changed)
        self.classes.add_handler(self._class_changed)
        self.pods.add_handler(self._pod_changed)

    # --- what is looked at again ------------------------------------------------------------------------------------------------

    def _claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        claim = new or old or {}
        if new is None:
            self._told.pop(uid(claim), None)
        self.queue.add(f"claim/{key(claim)}")
        for volume in self.volumes.indexed("claim", key(claim)):
            self.queue.add(f"volume/{key(volume)}")

    def _volume_changed(self, old: Obj | None, new: Obj | None) -> None:
        volume = new or old or {}
        name = key(volume)
        self.queue.add(f"volume/{name}")
        if claim := claim_key(volume):
            self.queue.add(f"claim/{claim}")
        elif new is not None and phase(new) == "Available":
            self._look_again(class_name(new))
        for each in self.claims.indexed("volume name", name):
            self.queue.add(f"claim/{key(each)}")

    def _class_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._look_again(key(new or old or {}))

    def _look_again(self, name: str) -> None:
        for claim in self.claims.indexed("pending by class", name):
            self.queue.add(f"claim/{key(claim)}")

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        """A claim that waits for its first consumer has one."""
        if old is None and new is not None:
            for each in claims_used(new):
                self.queue.add(f"claim/{each}")

    async def sync(self, key: str) -> None:
        what, _, rest = key.partition("/")
        if what == "volume":
            volume = self.volumes.get("", rest)
            if volume is not None:
                await self._sync_volume(volume)
            return
        namespace, _, name = rest.partition("/")
        claim = self.claims.get(namespace, name)
        if claim is None:
            return
        if BIND_COMPLETED in annotations_of(claim):
            await self._sync_bound(claim)
        else:
            await self._sync_pending(claim)

    # --- claims -----------------------------------------------------------------------------------------------------------------

    async def _sync_pending(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        if name:
            await self._sync_named(claim, self.volumes.get("", name))
            return
        delayed = self._is_delayed(claim)
        reserved = [v for v in self.volumes.indexed("claim", key(claim)) if is_for(v, claim)]
        volume = plan.best_match(claim, [*reserved, *self.volumes.indexed("free by class", class_name(claim))], delayed)
        if volume is not None:
            await self._bind(claim, volume)
            return
        if delayed:
            self._tell_waiting(claim)
        elif class_name(claim):
            claim = await self._ask_provisioner(claim)
        else:
            self._tell(claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
        await self._set_claim(claim, None, "Pending")

    def _is_delayed(self, claim: Obj) -> bool:
        """Whether the scheduler chooses, and has not chosen."""
        storage_class = self.classes.get("", class_name(claim))
        waits = storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        return waits and SELECTED_NODE not in annotations_of(claim)

    def _tell_waiting(self, claim: Obj) -> None:
        pods = sorted(p["metadata"]["name"] for p in self.pods.indexed("claims", key(claim)) if not p["spec"].get("nodeName"))
        if not pods:
            self._tell(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
        elif len(pods) == 1:
            self._tell(claim, "WaitForPodScheduled", f"waiting for pod {pods[0]} to be scheduled")
        else:
            self._tell(claim, "WaitForPodScheduled", f"waiting for pods {','.join(pods)} to be scheduled")

    async def _sync_named(self, claim: Obj, volume: Obj | None) -> None:
        if volume is None:
            await self._set_claim(claim, None, "Pending")
        elif not volume["spec"].get("claimRef"):
            fault = plan.mismatch(volume, claim)
            if fault:
                name = volume["metadata"]["name"]
                self._tell(claim, "VolumeMismatch", f'Cannot bind to requested volume "{name}": {fault}', "Warning")
                await self._set_claim(claim, None, "Pending")
            else:
                await self._bind(claim, volume)
        elif is_for(volume, claim):
            await self._bind(claim, volume)
        else:
            name = volume["metadata"]["name"]
            self._tell(claim, "FailedBinding", f'volume "{name}" already bound to a different claim.', "Warning")
            await self._set_claim(claim, None, "Pending")

    async def _sync_bound(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        volume = self.volumes.get("", name) if name else None
        if volume is not None and (not volume["spec"].get("claimRef") or is_for(volume, claim)):
            await self._bind(claim, volume)
            return
        if phase(claim) == "Lost":
            return
        if volume is not None:
            reason, message = "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"
        elif name:
            if await self._exists(name):
                return  # the cache has yet to hear of it
            reason, message = "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        else:
            reason, message = "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        await self._set_claim(claim, None, "Lost")
        self._tell(claim, reason, message, "Warning")

    async def _exists(self, volume: str) -> bool:
        try:
            await self.api.get(PERSISTENT_VOLUMES, "", volume)
        except StatusError as error:
            if is_not_found(error):
                return False
            raise
        return True

    async def _bind(self, claim: Obj, volume: Obj) -> None:
        wanted = plan.bound_volume(volume, claim)
        if wanted is not volume:
            volume = await self.api.update(PERSISTENT_VOLUMES, wanted)
        volume = await self._set_volume(volume, "Bound")
        bound = plan.bound_claim(claim, volume)
        if bound is not claim:
            claim = await self.api.update(PERSISTENT_VOLUME_CLAIMS, bound)
        await self._set_claim(claim, volume, "Bound")

    async def _set_claim(self, claim: Obj, volume: Obj | None, wanted: str) -> None:
        status = plan.claim_status(claim, volume, wanted)
        if status != (claim.get("status") or {}):
            await self.api.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, "status")

    # --- new volumes ------------------------------------------------------------------------------------------------------------

    async def _ask_provisioner(self, claim: Obj) -> Obj:
        """Name the provisioner in the claim, as a request to it; the claim as it is then."""
        name = class_name(claim)
        storage_class = self.classes.get("", name)
        if storage_class is None:
            self._tell(claim, "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found', "Warning")
            return claim
        named: str = storage_class["provisioner"]
        provisioner = MIGRATED.get(named, named)
        if provisioner.startswith("kubernetes.io/"):
            self._tell(claim, "ProvisioningFailed", f"no volume plugin matched name: {provisioner}", "Warning")
            return claim
        notes = annotations_of(claim)
        if any(notes.get(each) != provisioner for each in PROVISIONERS):
            asked = with_metadata(claim, annotations={**notes, **dict.fromkeys(PROVISIONERS, provisioner)})
            claim = await self.api.update(PERSISTENT_VOLUME_CLAIMS, asked)
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system "
            "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        )
        self._tell(claim, "ExternalProvisioning", message)
        return claim

    # --- volumes ----------------------------------------------------------------------------------------------------------------

    async def _sync_volume(self, volume: Obj) -> None:
        ref = volume["spec"].get("claimRef")
        if not ref or not ref.get("uid"):
            await self._set_volume(volume, "Available")
            return
        claim = await self._claim_of(volume)
        if claim is None:
            await self._release(volume)
        elif not claim["spec"].get("volumeName"):
            return  # it is being bound
        elif claim["spec"]["volumeName"] == volume["metadata"]["name"]:
            await self._set_volume(volume, "Bound")
        elif PROVISIONED_BY in annotations_of(volume) and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            await self._release(volume)  # it was made for a claim that took another one
        else:
            await self.api.update(PERSISTENT_VOLUMES, plan.unbound_volume(volume))

    async def _claim_of(self, volume: Obj) -> Obj | None:
        """The very claim that a volume is bound to. Data depends on it: before it is believed to be gone, the server is asked."""
        ref = volume["spec"]["claimRef"]
        claim = self.claims.get(ref["namespace"], ref["name"])
        if claim is None or uid(claim) != ref["uid"]:
            try:
                claim = await self.api.get(PERSISTENT_VOLUME_CLAIMS, ref["namespace"], ref["name"])
            except StatusError as error:
                if is_not_found(error):
                    return None
                raise
        return claim if uid(claim) == ref["uid"] else None

    async def _release(self, volume: Obj) -> None:
        if phase(volume) not in ("Released", "Failed"):
            volume = await self._set_volume(volume, "Released")
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        if policy == "Retain" or is_deleting(volume) or phase(volume) == "Failed":
            return
        if policy == "Recycle":
            await self._fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        elif PROVISIONED_BY in annotations_of(volume) or volume["spec"].get("csi"):
            return  # whoever made it deletes it
        elif volume["spec"].get("hostPath"):
            path = volume["spec"]["hostPath"]["path"]
            if _DISPOSABLE.fullmatch(path):
                await self.api.delete(PERSISTENT_VOLUMES, "", key(volume), {"preconditions": {"uid": uid(volume)}})
            else:
                await self._fail(
                    volume, "VolumeFailedDelete", f"host_path deleter only supports /tmp/.+ but received provided {path}"
                )
        else:
            fault = f'error getting deleter volume plugin for volume "{key(volume)}": no deletable volume plugin matched'
            await self._fail(volume, "VolumeFailedDelete", fault)

    async def _fail(self, volume: Obj, reason: str, message: str) -> None:
        await self._set_volume(volume, "Failed", message)
        self.context.event(volume, PERSISTENT_VOLUMES, "Warning", reason, message)

    async def _set_volume(self, volume: Obj, wanted: str, message: str = "") -> Obj:
        if phase(volume) == wanted:
            return volume
        status = {k: v for k, v in (volume.get("status") or {}).items() if k not in ("message", "reason")}
        status |= {"phase": wanted, **({"message": message} if message else {})}
        return await self.api.update(PERSISTENT_VOLUMES, {**volume, "status": status}, "status")

    def _tell(self, claim: Obj, reason: str, message: str, type: str = "Normal") -> None:
        if self._told.get(uid(claim)) != message:
            self._told[uid(claim)] = message
            self.context.event(claim, PERSISTENT_VOLUME_CLAIMS, type, reason, message)
