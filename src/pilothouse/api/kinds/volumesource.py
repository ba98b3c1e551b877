"""What a PersistentVolume is made of: one source, with what it needs (API reference: PersistentVolumeSpec)."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import names
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.internal_form import Fields, dump
from pilothouse.api.podspec import disks
from pilothouse.api.podspec.disks import iscsi_name

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
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
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


def validate_sources(spec: Obj, path: str, name: str = "") -> list[FieldError]:
    """Errors of the one source that the volume of this name must have."""
    found = sorted(sources_of(spec), key=_first_the_simple)
    if not found:
        return [required(path, "must specify a volume type")]
    out: list[FieldError] = []
    for n, key in enumerate(found):
        if n:
            out.append(forbidden(f"{path}.{key}", "may not specify more than 1 volume type"))
        else:
            out += _validate_source(key, spec, path, name)
    return out


def _first_the_simple(key: str) -> int:
    return 0 if key == "hostPath" else 1


def _validate_source(key: str, spec: Obj, path: str, name: str) -> list[FieldError]:
    source, where = spec[key], f"{path}.{key}"
    if key in _OWN:
        out = _OWN[key](source, where)
    else:
        out = []
        _SHARED[key](source, where, out)
    if key == "iscsi" and (told := disks.iscsi_target_too_long(source, name)):
        out.insert(0, invalid(f"{where}.targetportal", source.get("targetPortal") or "", told))
    if key == "local" and spec.get("nodeAffinity") is None:
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


def _iscsi(source: Obj, where: str) -> list[FieldError]:
    out = [] if source.get("targetPortal") else [required(f"{where}.targetPortal")]
    iqn, lun = source.get("iqn") or "", source.get("lun") or 0
    if not iqn:
        out.append(required(f"{where}.iqn"))
    elif not iscsi_name(iqn):
        out.append(invalid(f"{where}.iqn", iqn, "must be valid format"))
    if not 0 <= lun <= 255:
        out.append(invalid(f"{where}.lun", lun, "must be between 0 and 255, inclusive"))
    secret = source.get("secretRef")
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
        out.append(required(f"{where}.secretRef"))
    if secret is not None and not secret.get("name"):
        out.append(required(f"{where}.secretRef.name"))
    initiator = source.get("initiatorName")
    if initiator is not None and not iscsi_name(initiator):
        out.append(invalid(f"{where}.initiatorname", initiator, "must be valid format"))
    return out


def _glusterfs(source: Obj, where: str) -> list[FieldError]:
    out: list[FieldError] = []
    disks.check_glusterfs(source, where, out)
    namespace = source.get("endpointsNamespace")
    if namespace == "":
        out.append(
            invalid(f"{where}.endpointsNamespace", "", "if the endpointnamespace is set, it must be a valid namespace name")
        )
    elif namespace is not None:
        out += named(f"{where}.endpointsNamespace", namespace, names.dns1123_label(namespace))
    return out


def _azure_file(source: Obj, where: str) -> list[FieldError]:
    out: list[FieldError] = []
    disks.check_azure_file(source, where, out)
    return [*out, required(f"{where}.secretNamespace")] if source.get("secretNamespace") == "" else out


def _cinder(source: Obj, where: str) -> list[FieldError]:
    out = [] if source.get("volumeID") else [required(f"{where}.volumeID")]
    return out + _whole_reference(source, where)


def _storageos(source: Obj, where: str) -> list[FieldError]:
    out: list[FieldError] = []
    disks.check_storageos({**source, "secretRef": None}, where, out)
    return out + _whole_reference(source, where)


def _whole_reference(source: Obj, where: str) -> list[FieldError]:
    """A reference to a Secret, if there is one, names its namespace, too."""
    ref = source.get("secretRef")
    if ref is None:
        return []
    return [required(f"{where}.secretRef.{key}") for key in ("name", "namespace") if not ref.get(key)]


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


#: Sources that volumes check otherwise than pods do.
_OWN: dict[str, Callable[[Obj, str], list[FieldError]]] = {
    "hostPath": _host_path, "local": _path, "iscsi": _iscsi, "glusterfs": _glusterfs, "azureFile": _azure_file, "cinder": _cinder,
    "storageos": _storageos, "csi": _csi,
}  # fmt: skip
_SHARED: dict[str, Callable[[Obj, str, list[FieldError]], None]] = {
    "gcePersistentDisk": disks.check_gce, "awsElasticBlockStore": disks.check_aws, "nfs": disks.check_nfs, "rbd": disks.check_rbd,
    "quobyte": disks.check_quobyte, "flexVolume": disks.check_flex, "cephfs": disks.check_cephfs, "fc": disks.check_fc,
    "flocker": disks.check_flocker, "vsphereVolume": disks.check_vsphere, "azureDisk": disks.check_azure_disk,
    "photonPersistentDisk": disks.check_photon, "portworxVolume": disks.check_portworx, "scaleIO": disks.check_scaleio,
}  # fmt: skip
