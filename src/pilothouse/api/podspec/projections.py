"""Volumes of small files: Secrets, ConfigMaps, the downward API, tokens, and all of them together (API reference: ProjectedVolumeSource)."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.errors import Obj, forbidden, invalid, required
from pilothouse.api.podspec.checks import Errors, label_selector, local_name, name_errors
from pilothouse.api.podspec.env import VOLUME_FIELDS, check_field_ref, check_resource_ref

_MODE_MESSAGE = "must be a number between 0 and 0777 (octal), both inclusive"
_CONFLICT = "conflicting duplicate paths"
_KEY_TYPES = ("ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096")
_DAY = 86400


def _check_mode(source: Obj, field: str, path: str, out: Errors) -> None:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        out.append(invalid(f"{path}.{field}", mode, _MODE_MESSAGE))


def _check_items(items: list[Obj], path: str, out: Errors) -> None:
    for n, item in enumerate(items):
        _check_item(item, f"{path}[{n}]", out)


def _check_item(item: Obj, path: str, out: Errors) -> None:
    """A key, and the file that it becomes."""
    if not item.get("key"):
        out.append(required(f"{path}.key"))
    if not item.get("path"):
        out.append(required(f"{path}.path"))
    local_name(item.get("path") or "", f"{path}.path", out)
    _check_mode(item, "mode", path, out)


def check_secret(source: Obj, path: str, out: Errors) -> None:
    if not source.get("secretName"):
        out.append(required(f"{path}.secretName"))
    _check_mode(source, "defaultMode", path, out)
    _check_items(source.get("items") or [], f"{path}.items", out)


def check_config_map(source: Obj, path: str, out: Errors) -> None:
    if not source.get("name"):
        out.append(required(f"{path}.name"))
    _check_mode(source, "defaultMode", path, out)
    _check_items(source.get("items") or [], f"{path}.items", out)


def check_downward(source: Obj, path: str, out: Errors) -> None:
    _check_mode(source, "defaultMode", path, out)
    for item in source.get("items") or ():
        _check_downward_file(item, path, out)


def _check_downward_file(item: Obj, path: str, out: Errors) -> None:
    if not item.get("path"):
        out.append(required(f"{path}.path"))
    local_name(item.get("path") or "", f"{path}.path", out)
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        check_field_ref(field, VOLUME_FIELDS, f"{path}.fieldRef", out)
        if resource is not None:
            told = "fieldRef and resourceFieldRef can not be specified simultaneously"
            out.append(invalid(path, "resource", told))
    elif resource is not None:
        check_resource_ref(resource, f"{path}.resourceFieldRef", out, volume=True)
    else:
        out.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    _check_mode(item, "mode", path, out)


def check_projected(source: Obj, path: str, out: Errors) -> None:
    """Several sources in one folder: no two files of one name."""
    _check_mode(source, "defaultMode", path, out)
    files: set[str] = set()
    for n, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{n}]"
        given = [field for field in projection if field in _PROJECTIONS and projection[field] is not None]
        if len(given) > 1:
            given = [field for field in _PROJECTIONS if field in given]
        for m, field in enumerate(given):
            if m:
                out.append(forbidden(f"{where}.{field}", "may not specify more than 1 volume type"))
            else:
                _PROJECTIONS[field](projection[field], f"{where}.{field}", path, files, out)


def _take(name: str, files: set[str], shown: str, path: str, out: Errors) -> None:
    if not name:
        return
    if name in files:
        out.append(invalid(path, shown, _CONFLICT))
    files.add(name)


def _check_object_items(source: Obj, where: str, path: str, files: set[str], out: Errors) -> None:
    if not source.get("name"):
        out.append(required(f"{where}.name"))
    for n, item in enumerate(source.get("items") or ()):
        _check_item(item, f"{where}.items[{n}]", out)
        _take(item.get("path") or "", files, source.get("name") or "", path, out)


def _check_downward_items(source: Obj, where: str, path: str, files: set[str], out: Errors) -> None:
    for item in source.get("items") or ():
        _check_downward_file(item, where, out)
        _take(item.get("path") or "", files, item.get("path") or "", path, out)


def _check_path(source: Obj, where: str, path: str, files: set[str], out: Errors) -> None:
    """The one file that a source makes."""
    if not source.get("path"):
        out.append(required(f"{where}.path"))
    else:
        local_name(source["path"], f"{where}.path", out)
        _take(source["path"], files, source["path"], path, out)


def _check_token(source: Obj, where: str, path: str, files: set[str], out: Errors) -> None:
    seconds = source.get("expirationSeconds") or 0
    if seconds < 600:
        out.append(invalid(f"{where}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 1 << 32:
        out.append(invalid(f"{where}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))
    _check_path(source, where, path, files, out)


def _check_bundle(source: Obj, where: str, path: str, files: set[str], out: Errors) -> None:
    name, signer = source.get("name"), source.get("signerName")
    if name is not None and signer is not None:
        out.append(invalid(where, source, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            out.append(required(f"{where}.name", "must be a valid object name"))
        else:
            name_errors(name, names.dns1123_subdomain, f"{where}.name", out)
        if source.get("labelSelector") is not None:
            told = "labelSelector must be unset if name is specified"
            out.append(invalid(f"{where}.labelSelector", source["labelSelector"], told))
    elif signer is not None:
        if not signer:
            out.append(required(f"{where}.signerName", "must be a valid signer name"))
        label_selector(source.get("labelSelector"), f"{where}.labelSelector", out)
    else:
        out.append(required(where, "either name or signerName must be specified"))
    _check_path(source, where, path, files, out)


def _check_certificate(source: Obj, where: str, path: str, files: set[str], out: Errors) -> None:
    if not source.get("signerName"):
        out.append(required(f"{where}.signerName"))
    if source.get("keyType") not in _KEY_TYPES:
        out.append(invalid(f"{where}.keyType", source.get("keyType") or "", "must be one of " + ", ".join(_KEY_TYPES)))
    seconds = source.get("maxExpirationSeconds")
    if seconds is not None and not 3600 <= seconds <= 91 * _DAY:
        told = "must be between 1 hour and 91 days"
        out.append(invalid(f"{where}.maxExpirationSeconds", seconds, told))
    given = [f for f in ("credentialBundlePath", "keyPath", "certificateChainPath") if source.get(f)]
    if not given:
        out.append(required(where, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
    for field in given:
        local_name(source[field], f"{where}.{field}", out)
        _take(source[field], files, source[field], path, out)


#: In the order in which they are looked at.
_PROJECTIONS = {
    "secret": _check_object_items,
    "configMap": _check_object_items,
    "downwardAPI": _check_downward_items,
    "serviceAccountToken": _check_token,
    "clusterTrustBundle": _check_bundle,
    "podCertificate": _check_certificate,
}
