"""What a PersistentVolume is made of: one source, with what it needs (API reference: PersistentVolumeSpec)."""

from __future__ import annotations

import re
from collections.abc import Callable

from pilothouse.api import names
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.internal_form import Fields, dump

_SECRET: Fields = "Name:name Namespace:namespace"
#: All sources in the reference server's order: JSON name, internal name and fields.
SOURCES: tuple[tuple[str, str, Fields], ...] = (
    ("gcePersistentDisk", "GCEPersistentDisk", "PDName:pdName FSType:fsType Partition:partition0 ReadOnly:readOnly!"),
    ("awsElasticBlockStore", "AWSElasticBlockStore", "VolumeID:volumeID FSType:fsType Partition:partition0 ReadOnly:readOnly!"),
    ("hostPath", "HostPath", "Path:path Type:type?"),
    ("glusterfs", "Glusterfs", "EndpointsName:endpoints Path:path ReadOnly:readOnly! EndpointsNamespace:endpointsNamespace?"),
    ("nfs", "NFS", "Server:server Path:path ReadOnly:readOnly!"),
    ("rbd", "RBD", "CephMonitors:monitors? RBDImage:image FSType:fsType RBDPool:pool RadosUser:user Keyring:keyring "
                   "SecretRef:secretRef? ReadOnly:readOnly!"),
    ("quobyte", "Quobyte", "Registry:registry Volume:volume ReadOnly:readOnly! User:user Group:group Tenant:tenant"),
    ("iscsi", "ISCSI", "TargetPortal:targetPortal IQN:iqn Lun:lun0 ISCSIInterface:iscsiInterface FSType:fsType ReadOnly:readOnly! "
                       "Portals:portals? DiscoveryCHAPAuth:chapAuthDiscovery! SessionCHAPAuth:chapAuthSession! SecretRef:secretRef? "
                       "InitiatorName:initiatorName?"),
    ("flexVolume", "FlexVolume", "Driver:driver FSType:fsType SecretRef:secretRef? ReadOnly:readOnly! Options:options?"),
    ("cinder", "Cinder", "VolumeID:volumeID FSType:fsType ReadOnly:readOnly! SecretRef:secretRef?"),
    ("cephfs", "CephFS", "Monitors:monitors? Path:path User:user SecretFile:secretFile SecretRef:secretRef? ReadOnly:readOnly!"),
    ("fc", "FC", "TargetWWNs:targetWWNs? Lun:lun? FSType:fsType ReadOnly:readOnly! WWIDs:wwids?"),
    ("flocker", "Flocker", "DatasetName:datasetName DatasetUUID:datasetUUID"),
    ("azureFile", "AzureFile", "SecretName:secretName ShareName:shareName ReadOnly:readOnly! SecretNamespace:secretNamespace?"),
    ("vsphereVolume", "VsphereVolume", "VolumePath:volumePath FSType:fsType StoragePolicyName:storagePolicyName "
                                       "StoragePolicyID:storagePolicyID"),
    ("azureDisk", "AzureDisk", "DiskName:diskName DataDiskURI:diskURI CachingMode:cachingMode? FSType:fsType? ReadOnly:readOnly? Kind:kind?"),
    ("photonPersistentDisk", "PhotonPersistentDisk", "PdID:pdID FSType:fsType"),
    ("portworxVolume", "PortworxVolume", "VolumeID:volumeID FSType:fsType ReadOnly:readOnly!"),
    ("scaleIO", "ScaleIO", "Gateway:gateway System:system SecretRef:secretRef? SSLEnabled:sslEnabled! ProtectionDomain:protectionDomain "
                           "StoragePool:storagePool StorageMode:storageMode VolumeName:volumeName FSType:fsType ReadOnly:readOnly!"),
    ("local", "Local", "Path:path FSType:fsType?"),
    ("storageos", "StorageOS", "VolumeName:volumeName VolumeNamespace:volumeNamespace FSType:fsType ReadOnly:readOnly! SecretRef:secretRef?"),
    ("csi", "CSI", "Driver:driver VolumeHandle:volumeHandle ReadOnly:readOnly! FSType:fsType VolumeAttributes:volumeAttributes? "
                   "ControllerPublishSecretRef:controllerPublishSecretRef? NodeStageSecretRef:nodeStageSecretRef? "
                   "NodePublishSecretRef:nodePublishSecretRef? ControllerExpandSecretRef:controllerExpandSecretRef? "
                   "NodeExpandSecretRef:nodeExpandSecretRef?"),
)  # fmt: skip
_NESTED = dict.fromkeys(("controllerPublishSecretRef", "nodeStageSecretRef", "nodePublishSecretRef", "controllerExpandSecretRef",
                         "nodeExpandSecretRef", "secretRef"), _SECRET)  # fmt: skip
#: Which mount options may be given in the old annotation.
MOUNTABLE = frozenset(("gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "cinder", "cephfs",
                       "azureFile", "vsphereVolume", "azureDisk", "photonPersistentDisk"))  # fmt: skip
_NEEDED = {
    "gcePersistentDisk": ("pdName",), "awsElasticBlockStore": ("volumeID",), "glusterfs": ("endpoints", "path"), "rbd": ("monitors", "image"),
    "quobyte": ("registry", "volume"), "cephfs": ("monitors",), "cinder": ("volumeID",), "flexVolume": ("driver",),
    "azureFile": ("secretName", "shareName"), "vsphereVolume": ("volumePath",), "azureDisk": ("diskName", "diskURI"),
    "photonPersistentDisk": ("pdID",), "portworxVolume": ("volumeID",), "scaleIO": ("gateway", "system", "volumeName"),
    "storageos": ("volumeName",),
}  # fmt: skip
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_IQN = re.compile(
    r"(iqn\.\d{4}-\d{2}\.([a-zA-Z0-9-]*\.)*[a-zA-Z0-9-]*(:.*)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16}([0-9A-Fa-f]{16})?)"
).fullmatch


_DEFAULTS: dict[str, Obj] = {
    "hostPath": {"type": ""}, "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}  # fmt: skip


def default_source(spec: Obj) -> None:
    """Fill in what the user leaves out of the source, in place."""
    for key, values in _DEFAULTS.items():
        if spec.get(key) is not None:
            spec[key] = {**values, **spec[key]}


def source_dump(spec: Obj) -> Obj:
    """All sources in the reference server's internal form."""
    return {name: dump(spec.get(key), fields, _NESTED) for key, name, fields in SOURCES}


def sources_of(spec: Obj) -> Obj:
    return {key: spec[key] for key, _, _ in SOURCES if spec.get(key) is not None}


def validate_sources(spec: Obj, path: str) -> list[FieldError]:
    """Errors of the one source that there must be."""
    found = sorted(sources_of(spec), key=_first_the_simple)
    if not found:
        return [required(path, "must specify a volume type")]
    out: list[FieldError] = []
    for n, key in enumerate(found):
        if n:
            out.append(forbidden(f"{path}.{key}", "may not specify more than 1 volume type"))
        else:
            out += _validate_source(key, spec, path)
    return out


def _first_the_simple(key: str) -> int:
    return 0 if key == "hostPath" else 1


def _validate_source(key: str, spec: Obj, path: str) -> list[FieldError]:
    source, where = spec[key], f"{path}.{key}"
    check = _CHECKS.get(key)
    if check is not None:
        return check(source, where)
    out = [required(f"{where}.{field}") for field in _NEEDED.get(key, ()) if not source.get(field)]
    if key == "local":
        out += _path(source, where)
        if spec.get("nodeAffinity") is None:
            out.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    return out


def _path(source: Obj, where: str) -> list[FieldError]:
    path = source.get("path") or ""
    if not path:
        return [required(f"{where}.path")]
    return [invalid(f"{where}.path", path, "must not contain '..'")] if ".." in path.split("/") else []


def _host_path(source: Obj, where: str) -> list[FieldError]:
    out = _path(source, where)
    if (source.get("type") or "") not in _HOST_PATH_TYPES:
        out.append(not_supported(f"{where}.type", source["type"], _HOST_PATH_TYPES))
    return out


def _nfs(source: Obj, where: str) -> list[FieldError]:
    out = [required(f"{where}.{key}") for key in ("server", "path") if not source.get(key)]
    if not (source.get("path") or "").startswith("/"):
        out.append(invalid(f"{where}.path", source.get("path") or "", "must be an absolute path"))
    return out


def _iscsi(source: Obj, where: str) -> list[FieldError]:
    out = [] if source.get("targetPortal") else [required(f"{where}.targetPortal")]
    iqn, lun = source.get("iqn") or "", source.get("lun") or 0
    if not iqn:
        out.append(required(f"{where}.iqn"))
    elif not iqn.startswith(("iqn", "eui", "naa")) or not _IQN(iqn):
        out.append(invalid(f"{where}.iqn", iqn, "must be valid format"))
    if not 0 <= lun <= 255:
        out.append(invalid(f"{where}.lun", lun, "must be between 0 and 255, inclusive"))
    secret = source.get("secretRef")
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
        out.append(required(f"{where}.secretRef"))
    if secret is not None and not secret.get("name"):
        out.append(required(f"{where}.secretRef.name"))
    return out


def _fc(source: Obj, where: str) -> list[FieldError]:
    worldwide, ids = source.get("targetWWNs"), source.get("wwids")
    if not worldwide and not ids:
        return [required(f"{where}.targetWWNs", "must specify either targetWWNs or wwids, but not both")]
    if worldwide and ids:
        return [invalid(f"{where}.targetWWNs", worldwide, "targetWWNs and wwids can not be specified simultaneously")]
    if not worldwide:
        return []
    lun = source.get("lun")
    if lun is None:
        return [required(f"{where}.lun", "lun is required if targetWWNs is specified")]
    return [] if 0 <= lun <= 255 else [invalid(f"{where}.lun", lun, "must be between 0 and 255, inclusive")]


def csi_driver_name(driver: str, where: str) -> list[FieldError]:
    """A subdomain of at most 63 characters, whatever its case."""
    if not driver:
        return [required(where)]
    out = [FieldError("FieldValueTooLong", where, detail="may not be more than 63 bytes")] if len(driver) > 63 else []
    return out + named(where, driver, names.dns1123_subdomain(driver.lower()))


def _csi(source: Obj, where: str) -> list[FieldError]:
    out = csi_driver_name(source.get("driver") or "", f"{where}.driver")
    if not source.get("volumeHandle"):
        out.append(required(f"{where}.volumeHandle"))
    for key in ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"):
        if source.get(key) is not None:
            out += _secret(source[key], f"{where}.{key}")
    return out


def _secret(ref: Obj, where: str) -> list[FieldError]:
    name, namespace = ref.get("name") or "", ref.get("namespace") or ""
    out = named(f"{where}.name", name, names.dns1123_subdomain(name)) if name else [required(f"{where}.name")]
    if not namespace:
        return [*out, required(f"{where}.namespace")]
    return out + named(f"{where}.namespace", namespace, names.dns1123_label(namespace))


_CHECKS: dict[str, Callable[[Obj, str], list[FieldError]]] = {
    "hostPath": _host_path,
    "nfs": _nfs,
    "iscsi": _iscsi,
    "fc": _fc,
    "csi": _csi,
}
