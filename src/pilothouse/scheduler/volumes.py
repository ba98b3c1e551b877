"""A pod's volumes as scheduling sees them: claims by name, and the in-tree disks that two pods cannot share (API reference: Volume)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]

_DISKS = ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi")
#: Volume sources of a pod that a CSI driver may have taken over, with the field that names the volume.
MIGRATABLE = {
    "awsElasticBlockStore": ("ebs.csi.aws.com", "volumeID", "kubernetes.io/aws-ebs"),
    "gcePersistentDisk": ("pd.csi.storage.gke.io", "pdName", "kubernetes.io/gce-pd"),
    "azureDisk": ("disk.csi.azure.com", "diskURI", "kubernetes.io/azure-disk"),
    "cinder": ("cinder.csi.openstack.org", "volumeID", "kubernetes.io/cinder"),
    "vsphereVolume": ("csi.vsphere.vmware.com", "volumePath", "kubernetes.io/vsphere-volume"),
    "portworxVolume": ("pxd.portworx.com", "volumeID", "kubernetes.io/portworx-volume"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that a pod uses. An ephemeral one is made for the pod and bears its name."""

    name: str
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class PodVolumes:
    """`claims` in the order of the pod's volumes; `disks` (source, its fields) that may clash; `inline` sources that may be migrated."""

    claims: tuple[Claim, ...]
    disks: tuple[tuple[str, Obj], ...]
    inline: tuple[tuple[str, Obj], ...]


def pod_volumes(pod_name: str, spec: Obj) -> PodVolumes | None:
    """None for the many pods whose volumes no plugin has to look at."""
    claims: list[Claim] = []
    disks: list[tuple[str, Obj]] = []
    inline: list[tuple[str, Obj]] = []
    for volume in spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            claims.append(Claim(volume["persistentVolumeClaim"].get("claimName") or ""))
        elif "ephemeral" in volume:
            claims.append(Claim(f"{pod_name}-{volume['name']}", ephemeral=True))
        else:
            disks += [(source, volume[source]) for source in _DISKS if source in volume]
            inline += [(source, volume[source]) for source in MIGRATABLE if source in volume]
    if not claims and not disks and not inline:
        return None
    return PodVolumes(tuple(claims), tuple(disks), tuple(inline))


def disks_clash(one: tuple[str, Obj], other: tuple[str, Obj]) -> bool:
    """Whether two disks of pods cannot be on one node: the same disk, unless both only read (never for EBS)."""
    source, mine = one
    if source != other[0]:
        return False
    theirs = other[1]
    read_only = bool(mine.get("readOnly")) and bool(theirs.get("readOnly"))
    if source == "awsElasticBlockStore":
        return mine.get("volumeID") == theirs.get("volumeID")
    if source == "gcePersistentDisk":
        return mine.get("pdName") == theirs.get("pdName") and not read_only
    if source == "iscsi":
        return mine.get("iqn") == theirs.get("iqn") and not read_only
    same_image = mine.get("image") == theirs.get("image") and (mine.get("pool") or "rbd") == (theirs.get("pool") or "rbd")
    return same_image and not set(mine.get("monitors") or ()).isdisjoint(theirs.get("monitors") or ()) and not read_only
