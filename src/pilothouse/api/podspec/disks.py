"""Volumes on storage systems, of which most are served by CSI drivers today (API reference: Volume)."""

from __future__ import annotations

import re

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required, too_long
from pilothouse.api.podspec.checks import Errors, local_name, name_errors, one_of, within

_ISCSI_NAMES = ("iqn", "eui", "naa")
_ISCSI_FORMS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.[A-Za-z0-9.-]+:[^,;*&$|\s]+"),
    "eui": re.compile(r"eui\.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa\.[A-Za-z0-9]{32}"),
}
_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_QUOBYTE = "must be a host:port pair or multiple pairs separated by commas"


def _require(source: Obj, path: str, out: Errors, *fields: str) -> None:
    out.extend(required(f"{path}.{field}") for field in fields if not source.get(field))


def check_git_repo(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "repository")
    local_name(source.get("directory") or "", f"{path}.directory", out)


def _check_partition(source: Obj, path: str, out: Errors) -> None:
    partition = source.get("partition") or 0
    if not 0 <= partition <= 255:
        out.append(invalid(f"{path}.partition", partition, "must be between 1 and 255, inclusive"))


def check_gce(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "pdName")
    _check_partition(source, path, out)


def check_aws(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "volumeID")
    _check_partition(source, path, out)


def check_nfs(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "server", "path")
    if not (source.get("path") or "").startswith("/"):
        out.append(invalid(f"{path}.path", source.get("path") or "", "must be an absolute path"))


def check_iscsi(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "targetPortal")
    iqn = source.get("iqn") or ""
    if not iqn:
        out.append(required(f"{path}.iqn"))
    else:
        _check_iscsi_name(iqn, f"{path}.iqn", out)
    within(source.get("lun") or 0, 0, 255, f"{path}.lun", out)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        out.append(required(f"{path}.secretRef"))
    if source.get("initiatorName") is not None:
        _check_iscsi_name(source["initiatorName"], f"{path}.initiatorname", out)


def _check_iscsi_name(name: str, path: str, out: Errors) -> None:
    if not name.startswith(_ISCSI_NAMES):
        out.append(invalid(path, name, "must be valid format starting with iqn, eui, or naa"))
    elif not iscsi_name(name):
        out.append(invalid(path, name, "must be valid format"))


def iscsi_name(name: str) -> bool:
    """Whether a name is one of the three forms that names of iSCSI have."""
    return name.startswith(_ISCSI_NAMES) and _ISCSI_FORMS[name[:3]].fullmatch(name) is not None


def iscsi_target_too_long(source: Obj, name: str) -> str:
    """What is wrong with a portal of a volume of this name, where the initiator has a name of its own; "" if nothing is."""
    if source.get("initiatorName") is None or names.size(f"{name}:{source.get('targetPortal') or ''}") <= 64:
        return ""
    return "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."


def check_glusterfs(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "endpoints", "path")


def check_flocker(source: Obj, path: str, out: Errors) -> None:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uuid:
        out.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        out.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        out.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))


def check_rbd(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "monitors", "image")


def check_cinder(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "volumeID")
    _check_secret_ref(source, "secretRef", path, out)


def _check_secret_ref(source: Obj, field: str, path: str, out: Errors) -> None:
    if source.get(field) is not None and not source[field].get("name"):
        out.append(required(f"{path}.{field}.name"))


def check_cephfs(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "monitors")


def check_quobyte(source: Obj, path: str, out: Errors) -> None:
    registry = source.get("registry") or ""
    if not registry:
        out.append(required(f"{path}.registry", _QUOBYTE))
    elif len(source.get("tenant") or "") >= 65:
        out.append(required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters"))
    elif not all(re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):[^:]*", pair) for pair in registry.split(",")):
        out.append(invalid(f"{path}.registry", registry, _QUOBYTE))
    _require(source, path, out, "volume")


def check_fc(source: Obj, path: str, out: Errors) -> None:
    targets, wwids = source.get("targetWWNs") or [], source.get("wwids") or []
    if not targets and not wwids:
        out.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if targets and wwids:
        told = "targetWWNs and wwids can not be specified simultaneously"
        out.append(invalid(f"{path}.targetWWNs", targets, told))
    elif targets:
        if source.get("lun") is None:
            out.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        else:
            within(source["lun"], 0, 255, f"{path}.lun", out)


def check_flex(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "driver")
    for key in sorted(source.get("options") or {}):
        namespace = "." + key.lower().partition("/")[0]
        if "/" in key and namespace.endswith((".kubernetes.io", ".k8s.io")):
            told = "kubernetes.io and k8s.io namespaces are reserved"
            out.append(invalid(f"{path}.options[{key}]", key, told))


def check_azure_file(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "secretName", "shareName")


def check_azure_disk(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "diskName", "diskURI")
    if source.get("cachingMode") is not None:
        one_of(source["cachingMode"], ("None", "ReadOnly", "ReadWrite"), f"{path}.cachingMode", out)
    kind, uri = source.get("kind"), source.get("diskURI") or ""
    if kind is not None and kind not in ("Dedicated", "Managed", "Shared"):
        out.append(not_supported(f"{path}.kind", kind, ("Dedicated", "Managed", "Shared")))
    managed = kind == "Managed"
    if uri and not uri.startswith("/subscriptions" if managed else "https://"):
        out.append(not_supported(f"{path}.diskURI", uri, (_MANAGED if managed else _BLOB,)))


def check_vsphere(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "volumePath")


def check_photon(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "pdID")


def check_portworx(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "volumeID")


def check_storageos(source: Obj, path: str, out: Errors) -> None:
    if not source.get("volumeName"):
        out.append(required(f"{path}.volumeName"))
    else:
        name_errors(source["volumeName"], names.dns1123_label, f"{path}.volumeName", out)
    if source.get("volumeNamespace"):
        name_errors(source["volumeNamespace"], names.dns1123_label, f"{path}.volumeNamespace", out)
    _check_secret_ref(source, "secretRef", path, out)


def check_scaleio(source: Obj, path: str, out: Errors) -> None:
    _require(source, path, out, "gateway", "system", "volumeName")


def check_csi(source: Obj, path: str, out: Errors) -> None:
    check_driver_name(source.get("driver") or "", f"{path}.driver", out)
    _check_secret_ref(source, "nodePublishSecretRef", path, out)


def check_driver_name(name: str, path: str, out: list[FieldError]) -> None:
    """A CSI driver's name: at most 63 bytes of a subdomain, whatever the case of its letters."""
    if not name:
        out.append(required(path))
    if names.size(name) > 63:
        out.append(too_long(path, 63))
    for message in names.dns1123_subdomain(name.lower()) if name else ():
        out.append(invalid(path, name, message))
