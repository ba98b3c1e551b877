"""Volumes: each has a name and one source, and containers mount what is there (API reference: Volume, VolumeMount, VolumeDevice)."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import names, quantity
from pilothouse.api.errors import Obj, duplicate, forbidden, invalid, not_found, not_supported, required
from pilothouse.api.podspec import disks, projections
from pilothouse.api.podspec.checks import Errors, descending, label_problems, name_errors, no_backsteps
from pilothouse.api.podspec.claims import check_claim_template

Volumes = dict[str, Obj]
Check = Callable[[Obj, str, Errors], None]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")


def check_volumes(volumes: list[Obj], pod_name: str, path: str, out: Errors) -> Volumes:
    """Check spec.volumes; gives the good ones by name, for what mounts them. `pod_name`: "" in templates."""
    good: Volumes = {}
    for n, volume in enumerate(volumes):
        found = _check_volume(volume, pod_name, f"{path}[{n}]", good)
        if found:
            out += found
        else:
            good[volume["name"]] = volume
    return good


def _check_volume(volume: Obj, pod_name: str, path: str, others: Volumes) -> Errors:
    out: Errors = []
    name = volume.get("name") or ""
    _check_source(volume, path, out)
    if volume.get("iscsi") is not None and (told := disks.iscsi_target_too_long(volume["iscsi"], name)):
        out.append(invalid(f"{path}.name", name, told))
    if pod_name and volume.get("ephemeral") is not None:
        claim = f"{pod_name}-{name}"
        for message in names.dns1123_subdomain(claim):
            out.append(invalid(f"{path}.name", name, f'PVC name "{claim}": {message}'))
    if not name:
        out.append(required(f"{path}.name"))
    else:
        name_errors(name, label_problems, f"{path}.name", out)
    if name in others:
        out.append(duplicate(f"{path}.name", name))
    return out


def _check_source(volume: Obj, path: str, out: Errors) -> None:
    given = [field for field in volume if field in _SOURCES and volume[field] is not None]
    if len(given) > 1:
        given = [field for field in _SOURCES if field in given]
    for n, field in enumerate(given):
        shown, check = _SOURCES[field]
        if n:
            out.append(forbidden(f"{path}.{shown}", "may not specify more than 1 volume type"))
        else:
            check(volume[field], f"{path}.{shown}", out)
    if not given:
        out.append(required(path, "must specify a volume type"))


def _check_empty_dir(source: Obj, path: str, out: Errors) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.sign(limit) < 0:
        out.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _check_host_path(source: Obj, path: str, out: Errors) -> None:
    if not source.get("path"):
        out.append(required(f"{path}.path"))
        return
    no_backsteps(source["path"], f"{path}.path", out)
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        out.append(not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))


def _check_claim(source: Obj, path: str, out: Errors) -> None:
    if not source.get("claimName"):
        out.append(required(f"{path}.claimName"))


def _check_ephemeral(source: Obj, path: str, out: Errors) -> None:
    if source.get("volumeClaimTemplate") is None:
        out.append(required(f"{path}.volumeClaimTemplate"))
    else:
        check_claim_template(source["volumeClaimTemplate"], f"{path}.volumeClaimTemplate", out)


def _check_image(source: Obj, path: str, out: Errors) -> None:
    if not source.get("reference"):
        out.append(required(f"{path}.reference"))
    policy = source.get("pullPolicy")
    if not policy:
        out.append(required(f"{path}.pullPolicy"))
    elif policy not in PULL_POLICIES:
        out.append(not_supported(f"{path}.pullPolicy", policy, PULL_POLICIES))


#: By field: the name that errors give it, and its check; in the order in which they are looked at.
_SOURCES: dict[str, tuple[str, Check]] = {
    "emptyDir": ("emptyDir", _check_empty_dir),
    "hostPath": ("hostPath", _check_host_path),
    "gitRepo": ("gitRepo", disks.check_git_repo),
    "gcePersistentDisk": ("persistentDisk", disks.check_gce),
    "awsElasticBlockStore": ("awsElasticBlockStore", disks.check_aws),
    "secret": ("secret", projections.check_secret),
    "nfs": ("nfs", disks.check_nfs),
    "iscsi": ("iscsi", disks.check_iscsi),
    "glusterfs": ("glusterfs", disks.check_glusterfs),
    "flocker": ("flocker", disks.check_flocker),
    "persistentVolumeClaim": ("persistentVolumeClaim", _check_claim),
    "rbd": ("rbd", disks.check_rbd),
    "cinder": ("cinder", disks.check_cinder),
    "cephfs": ("cephfs", disks.check_cephfs),
    "quobyte": ("quobyte", disks.check_quobyte),
    "downwardAPI": ("downwardAPI", projections.check_downward),
    "fc": ("fc", disks.check_fc),
    "flexVolume": ("flexVolume", disks.check_flex),
    "configMap": ("configMap", projections.check_config_map),
    "azureFile": ("azureFile", disks.check_azure_file),
    "vsphereVolume": ("vsphereVolume", disks.check_vsphere),
    "photonPersistentDisk": ("photonPersistentDisk", disks.check_photon),
    "portworxVolume": ("portworxVolume", disks.check_portworx),
    "azureDisk": ("azureDisk", disks.check_azure_disk),
    "storageos": ("storageos", disks.check_storageos),
    "projected": ("projected", projections.check_projected),
    "scaleIO": ("scaleIO", disks.check_scaleio),
    "csi": ("csi", disks.check_csi),
    "ephemeral": ("ephemeral", _check_ephemeral),
    "image": ("image", _check_image),
}
SOURCES = tuple(_SOURCES)


# --- in containers ---------------------------------------------------------------------------------------------------------------

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")


def check_mounts(container: Obj, volumes: Volumes, path: str, out: Errors) -> None:
    """A container's volumeMounts at `path`."""
    devices = container.get("volumeDevices") or ()
    seen: set[str] = set()
    for n, mount in enumerate(container["volumeMounts"]):
        where, name, target = f"{path}[{n}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            out.append(required(f"{where}.name"))
        if name not in volumes:
            out.append(not_found(f"{where}.name", name))
        if not target:
            out.append(required(f"{where}.mountPath"))
        if target in seen:
            out.append(invalid(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        if devices and any(d.get("name") == name for d in devices):
            out.append(invalid(f"{where}.name", name, "must not already exist in volumeDevices"))
        if devices and any(d.get("devicePath") == target for d in devices):
            out.append(invalid(f"{where}.mountPath", target, "must not already exist as a path in volumeDevices"))
        if len(mount) > 2:
            _check_mount_options(mount, container, where, path, out)


def _check_mount_options(mount: Obj, container: Obj, where: str, path: str, out: Errors) -> None:
    if mount.get("subPath"):
        descending(mount["subPath"], f"{path}.subPath", out)
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            told = "subPathExpr and subPath are mutually exclusive"
            out.append(invalid(f"{where}.subPathExpr", mount["subPathExpr"], told))
        descending(mount["subPathExpr"], f"{path}.subPathExpr", out)
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        if propagation not in _PROPAGATIONS:
            out.append(not_supported(f"{path}.mountPropagation", propagation, _PROPAGATIONS))
        elif propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            told = "Bidirectional mount propagation is available only to privileged containers"
            out.append(forbidden(f"{path}.mountPropagation", told))
    _check_recursive(mount, f"{path}.recursiveReadOnly", out)


def _check_recursive(mount: Obj, path: str, out: Errors) -> None:
    recursive = mount.get("recursiveReadOnly")
    if recursive is None or recursive == "Disabled":
        return
    if recursive not in _RECURSIVE:
        out.append(not_supported(path, recursive, _RECURSIVE))
        return
    if not mount.get("readOnly"):
        out.append(forbidden(path, "may only be specified when readOnly is true"))
    if mount.get("mountPropagation") not in (None, "None"):
        out.append(forbidden(path, "may only be specified when mountPropagation is None or not specified"))


def check_devices(container: Obj, volumes: Volumes, path: str, out: Errors) -> None:
    """A container's volumeDevices at `path`: claims as raw block devices."""
    mounts = container.get("volumeMounts") or ()
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for n, device in enumerate(container["volumeDevices"]):
        where, name, target = f"{path}[{n}]", device.get("name") or "", device.get("devicePath") or ""
        volume = volumes.get(name)
        if not name:
            out.append(required(f"{where}.name"))
        if name in seen_names:
            out.append(invalid(f"{where}.name", name, "must be unique"))
        if volume is None:
            out.append(not_found(f"{where}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            told = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            out.append(invalid(f"{where}.name", name, told))
        if not target:
            out.append(required(f"{where}.devicePath"))
        if target in seen_paths:
            out.append(invalid(f"{where}.devicePath", target, "must be unique"))
        if ".." in target.split("/"):
            out.append(invalid(f"{where}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            seen_paths.add(target)
        if any(m.get("name") == name for m in mounts):
            out.append(invalid(f"{where}.name", name, "must not already exist in volumeMounts"))
        if any(m.get("mountPath") == target for m in mounts):
            out.append(invalid(f"{where}.devicePath", target, "must not already exist as a path in volumeMounts"))
        if name:
            seen_names.add(name)
