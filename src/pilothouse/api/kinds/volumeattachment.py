"""VolumeAttachment: a volume at a node, wanted or done. What is wanted never changes (API reference: VolumeAttachmentSpec)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, required, too_long
from pilothouse.api.kinds.nodeselector import shown_affinity
from pilothouse.api.kinds.persistentvolume import validate_access_modes
from pilothouse.api.kinds.volumesource import csi_driver_name, source_dump, validate_sources
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

LARGEST_METADATA = 256 * 1024
#: Of an error's message; what clients are told is the limit of the metadata all the same.
LONGEST_MESSAGE = 1024
_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
_INLINE = "may not be specified in the context of inline volumes"


class VolumeAttachmentStrategy(Strategy):
    allow_unconditional_update = False
    delete_returns_object = True
    metadata_checked_again = frozenset(("common",))
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Attacher", format="name"), Column("PV"), Column("Node"), Column("Attached", "boolean"), AGE_COLUMN,
    )  # fmt: skip

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out = csi_driver_name(spec.get("attacher") or "", "spec.attacher")
        out += _validate_source(spec.get("source") or {}, "spec.source")
        node = spec.get("nodeName") or ""
        return out + named("spec.nodeName", node, names.dns1123_subdomain(node)) + _validate_status(obj.get("status") or {})

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        shown = _shown(obj.get("spec") or {})
        if shown != _shown(old.get("spec") or {}):
            out.append(invalid("spec", shown, "field is immutable"))
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        return _validate_status(obj.get("status") or {})

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        volume = (spec.get("source") or {}).get("persistentVolumeName") or ""
        attached = bool((obj.get("status") or {}).get("attached"))
        return [table.name_of(obj), spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, table.age(obj, now)]


def _validate_source(source: Obj, path: str) -> list[FieldError]:
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if name is None and inline is None:
        return [required(path, _ONE_SOURCE)]
    if name is not None and inline is not None:
        return [forbidden(path, _ONE_SOURCE)]
    if name is None:
        return _validate_inline(inline or {}, f"{path}.inlineVolumeSpec")
    where = f"{path}.persistentVolumeName"
    out = [] if name else [required(where, "must specify non empty persistentVolumeName")]
    return out + named(where, name, names.dns1123_subdomain(name))


def _validate_inline(spec: Obj, path: str) -> list[FieldError]:
    """A volume that only the pod has: the source and how it is mounted, nothing of a claim's."""
    out = [forbidden(f"{path}.{key}", _INLINE) for key in ("claimRef", "capacity") if spec.get(key)]
    if spec.get("csi") is None:
        out.append(required(f"{path}.csi", "has to be specified in the context of inline volumes"))
    return out + validate_access_modes(spec.get("accessModes") or [], f"{path}.accessModes", "") + validate_sources(spec, path)


def _validate_status(status: Obj) -> list[FieldError]:
    out: list[FieldError] = []
    told = status.get("attachmentMetadata") or {}
    if sum(names.size(k) + names.size(v) for k, v in told.items()) > LARGEST_METADATA:
        out.append(too_long("status.attachmentMetadata", LARGEST_METADATA))
    for key in ("attachError", "detachError"):
        if names.size((status.get(key) or {}).get("message") or "") > LONGEST_MESSAGE:
            out.append(too_long(f"status.{key}.message", LARGEST_METADATA))
    return out


def _shown(spec: Obj) -> Obj:
    """The specification as messages show it."""
    source = spec.get("source") or {}
    shown = {
        "PersistentVolumeName": source.get("persistentVolumeName"),
        "InlineVolumeSpec": _shown_inline(source.get("inlineVolumeSpec")),
    }
    return {"Attacher": spec.get("attacher", ""), "Source": shown, "NodeName": spec.get("nodeName", "")}


def _shown_inline(spec: Obj | None) -> Obj | None:
    if spec is None:
        return None
    return {
        "Capacity": spec.get("capacity"),
        **source_dump(spec),
        "AccessModes": spec.get("accessModes"),
        "ClaimRef": spec.get("claimRef"),
        "PersistentVolumeReclaimPolicy": spec.get("persistentVolumeReclaimPolicy", ""),
        "StorageClassName": spec.get("storageClassName", ""),
        "MountOptions": spec.get("mountOptions"),
        "VolumeMode": spec.get("volumeMode"),
        "NodeAffinity": shown_affinity(spec.get("nodeAffinity")),
        "VolumeAttributesClassName": spec.get("volumeAttributesClassName"),
    }
