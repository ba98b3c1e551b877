"""persistentvolume-attach-detach-controller: asks for the volumes of a node's pods to be attached there, and to be detached after.

It looks at one node at a time: the volumes that its pods want, against the VolumeAttachments that exist for it. A CSI driver's attacher does the
work and says in the VolumeAttachment whether it is done. A volume is given back when no pod wants it and the node has told that it is
unmounted, or has kept silent for six minutes, or is out of service or gone. Reference: Volumes, CSI; KEP-2268. Left out: volumes that are
not CSI's, which nothing in the control plane attaches any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pilothouse.api.claims import is_for
from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTACHMENTS,
)
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, annotations_of, is_deleting, key, uid
from pilothouse.controllers import indexes, taints
from pilothouse.controllers import pods as pod_facts
from pilothouse.controllers.pv_binder import claims_used
from pilothouse.controllers.volumes import claims_of

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
#: Seconds after which a volume is detached although its node has not said that it is unmounted.
FORCE_AFTER = 360.0


def attachment_name(handle: str, driver: str, node: str) -> str:
    """How CSI attachments are named: the same on every attempt."""
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node}".encode()).hexdigest()


def unique_name(volume: Obj) -> str:
    """What nodes call a volume in their status; "" for one that no CSI driver attaches, whatever an attachment made by hand says."""
    csi = volume["spec"].get("csi")
    return f"kubernetes.io/csi/{csi['driver']}^{csi['volumeHandle']}" if csi else ""


def is_exclusive(volume: Obj) -> bool:
    """Whether only one node may have it."""
    return not {"ReadWriteMany", "ReadOnlyMany"} & set(volume["spec"].get("accessModes") or ())


@dataclass(slots=True)
class Plan:
    """What to do for one node: volumes to attach, attachments to delete, and how its status should list what is attached."""

    attach: list[Obj] = field(default_factory=list)
    detach: list[Obj] = field(default_factory=list)
    attached: list[Obj] = field(default_factory=list)


def plan(node: str, wanted: Mapping[str, Obj], present: Iterable[Obj], volumes: Mapping[str, Obj], may_go: Iterable[str]) -> Plan:
    """`wanted`: volumes by name; `present`: the node's attachments; `may_go`: names of volumes that need not be waited for."""
    out, there, free = Plan(), set(), set(may_go)
    for attachment in present:
        name = (attachment["spec"].get("source") or {}).get("persistentVolumeName") or ""
        there.add(name)
        if name not in wanted and name in free and not is_deleting(attachment):
            out.detach.append(attachment)
        volume = wanted.get(name) or volumes.get(name)
        if volume is not None and (attachment.get("status") or {}).get("attached") and (called := unique_name(volume)):
            out.attached.append({"name": called, "devicePath": ""})
    out.attach = [volume for name, volume in wanted.items() if name not in there]
    out.attached.sort(key=lambda each: str(each["name"]))
    return out


def _node_of(attachment: Obj) -> Iterable[str]:
    return (attachment["spec"]["nodeName"],)


def _volume_of(attachment: Obj) -> Iterable[str]:
    name = (attachment["spec"].get("source") or {}).get("persistentVolumeName")
    return (name,) if name else ()


class AttachDetachController(Controller):
    name = "persistentvolume-attach-detach-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods, self.nodes = self.cache(PODS), self.cache(NODES)
        self.claims, self.volumes = self.cache(PERSISTENT_VOLUME_CLAIMS), self.cache(PERSISTENT_VOLUMES)
        self.attachments, self.drivers = self.cache(VOLUME_ATTACHMENTS), self.cache(CSI_DRIVERS)
        indexes.add(self.pods, "node")
        self.pods.add_index("claims", claims_used)
        self.attachments.add_index("node", _node_of)
        self.attachments.add_index("volume", _volume_of)
        #: Since when nobody has wanted a volume on a node that still has it.
        self._unwanted: dict[tuple[str, str], float] = {}
        #: What was last said about each attachment: an Event tells of a change, not of each look.
        self._told: dict[str, str] = {}
        self.pods.add_handler(self._pod_changed)
        self.nodes.add_handler(lambda old, new: self.enqueue(new or old or {}))
        self.claims.add_handler(self._claim_changed)
        self.attachments.add_handler(self._attachment_changed)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        if pod["spec"].get("nodeName") and next(claims_of(pod), None) is not None:
            self.queue.add(pod["spec"]["nodeName"])

    def _claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        for pod in self.pods.indexed("claims", key(new or old or {})):
            if pod["spec"].get("nodeName"):
                self.queue.add(pod["spec"]["nodeName"])

    def _attachment_changed(self, old: Obj | None, new: Obj | None) -> None:
        attachment = new or old or {}
        self.queue.add(attachment["spec"]["nodeName"])
        if new is None:  # whoever waits for an exclusive volume may have it
            self._told.pop(uid(attachment), None)
            for name in _volume_of(attachment):
                volume = self.volumes.get("", name)
                for pod in self._pods_of(volume) if volume is not None else ():
                    self.queue.add(pod["spec"].get("nodeName") or attachment["spec"]["nodeName"])

    def _pods_of(self, volume: Obj) -> Iterable[Obj]:
        ref = volume["spec"].get("claimRef") or {}
        return self.pods.indexed("claims", f"{ref.get('namespace')}/{ref.get('name')}")

    async def sync(self, key: str) -> None:
        node = self.nodes.get("", key)
        present = list(self.attachments.indexed("node", key))
        if node is not None and annotations_of(node).get(MANAGED) != "true" and not present:
            return
        users = self._users(key) if node is not None else {}
        wanted = {name: volume for name, (volume, _) in users.items()}
        named = {name: v for a in present for name in _volume_of(a) if (v := self.volumes.get("", name)) is not None}
        todo = plan(key, wanted, present, named, self._may_go(key, node, wanted, named, present))
        for attachment in todo.detach:
            await self._detach(attachment)
        for volume in todo.attach:
            await self._attach(key, volume, users[volume["metadata"]["name"]][1])
        self._tell_attached(present, users)
        if node is not None:
            await self._tell_node(node, todo.attached)

    def _users(self, node: str) -> dict[str, tuple[Obj, list[Obj]]]:
        """The CSI volumes that pods of a node want attached, by name, with the pods."""
        out: dict[str, tuple[Obj, list[Obj]]] = {}
        for pod in self.pods.indexed("node", node):
            if pod_facts.is_finished(pod):
                continue
            for _, name in claims_of(pod):
                claim = self.claims.get(pod["metadata"]["namespace"], name)
                volume = self.volumes.get("", (claim or {}).get("spec", {}).get("volumeName") or "")
                if claim is not None and volume is not None and is_for(volume, claim) and self._is_attachable(volume):
                    out.setdefault(volume["metadata"]["name"], (volume, []))[1].append(pod)
        return out

    def _is_attachable(self, volume: Obj) -> bool:
        csi = volume["spec"].get("csi")
        driver = self.drivers.get("", csi["driver"]) if csi else None
        return bool(csi) and (driver is None or driver["spec"].get("attachRequired") is not False)

    def _may_go(
        self, name: str, node: Obj | None, wanted: Mapping[str, Obj], named: Mapping[str, Obj], present: Iterable[Obj]
    ) -> set[str]:
        """The volumes that need not be waited for: unmounted, or waited for long enough."""
        here = {volume for a in present for volume in _volume_of(a)}
        unwanted = {volume for volume in here if volume not in wanted}
        now = self.clock.now()
        self._unwanted = {k: v for k, v in self._unwanted.items() if k[0] != name or k[1] in unwanted}
        if node is None or taints.is_out_of_service(node):
            return unwanted
        in_use = set((node.get("status") or {}).get("volumesInUse") or ())
        out = set()
        for volume in unwanted:
            since = self._unwanted.setdefault((name, volume), now)
            mounted = volume in named and unique_name(named[volume]) in in_use
            if not mounted or now - since >= FORCE_AFTER:
                out.add(volume)
            else:
                self.queue.add_after(name, since + FORCE_AFTER - now)
        return out

    async def _attach(self, node: str, volume: Obj, pods: list[Obj]) -> None:
        name, csi = volume["metadata"]["name"], volume["spec"]["csi"]
        elsewhere = [a for a in self.attachments.indexed("volume", name) if a["spec"]["nodeName"] != node]
        if elsewhere and is_exclusive(volume):
            text = f'Multi-Attach error for volume "{name}" Volume is already exclusively attached to one node and can\'t be attached to another'
            self._tell(pods, "Warning", "FailedAttachVolume", text)
            return  # the other attachment's end brings us back
        metadata = {"name": attachment_name(csi["volumeHandle"], csi["driver"], node)}
        spec = {"attacher": csi["driver"], "nodeName": node, "source": {"persistentVolumeName": name}}
        try:
            await self.api.create(VOLUME_ATTACHMENTS, {"metadata": metadata, "spec": spec})
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _detach(self, attachment: Obj) -> None:
        try:
            await self.api.delete(VOLUME_ATTACHMENTS, "", key(attachment), {"preconditions": {"uid": uid(attachment)}})
        except StatusError as error:
            if not is_not_found(error):
                raise

    def _tell_attached(self, present: Iterable[Obj], users: Mapping[str, tuple[Obj, list[Obj]]]) -> None:
        """Events on the pods that got what they waited for, or whose volume cannot be attached."""
        for attachment in present:
            for name in _volume_of(attachment):
                status = attachment.get("status") or {}
                fault = (status.get("attachError") or {}).get("message")
                if status.get("attached"):
                    told = ("Normal", "SuccessfulAttachVolume", f'AttachVolume.Attach succeeded for volume "{name}" ')
                elif fault:
                    told = ("Warning", "FailedAttachVolume", f'AttachVolume.Attach failed for volume "{name}" : {fault}')
                else:
                    continue
                if self._told.get(uid(attachment)) != told[2]:
                    self._told[uid(attachment)] = told[2]
                    self._tell(users[name][1] if name in users else (), *told)

    def _tell(self, pods: Iterable[Obj], type: str, reason: str, message: str) -> None:
        for pod in pods:
            self.context.event(pod, PODS, type, reason, message)

    async def _tell_node(self, node: Obj, attached: list[Obj]) -> None:
        if ((node.get("status") or {}).get("volumesAttached") or []) != attached:
            patch = {"status": {"volumesAttached": attached or None}}
            await self.api.patch(NODES, "", key(node), patch, "merge", "status")
