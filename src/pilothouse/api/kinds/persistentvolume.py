"""PersistentVolume: a piece of storage that claims can be bound to. What it is made of is in volumesource.

Its source never changes, except that a CSI volume may be told later which secrets to use for growing it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from pilothouse.api import names, quantity, table, times
from pilothouse.api.checks import immutable, named, positive_quantity, some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.internal_form import difference
from pilothouse.api.kinds.nodeselector import deprecated_labels, shown_affinity, validate_node_selector
from pilothouse.api.kinds.volumesource import MOUNTABLE, default_source, source_dump, sources_of, validate_sources
from pilothouse.api.podspec.affinity import RENAMED_LABELS
from pilothouse.api.podspec.warnings import DEPRECATED_VOLUMES
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy

STORAGE_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
MOUNT_OPTIONS_ANNOTATION = "volume.beta.kubernetes.io/mount-options"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
#: Sources whose use brings a Warning.
_DEPRECATED = ("cephfs", "photonPersistentDisk", "rbd", "scaleIO", "storageos", "glusterfs")
_SHOWN = {"storageos": "storageOS"}
_RECYCLE = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
_POLICIES = ("Delete", "Recycle", "Retain")


class PersistentVolumeStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Capacity"), Column("Access Modes"), Column("Reclaim Policy"), Column("Status"), Column("Claim"),
        Column("StorageClass"), Column("VolumeAttributesClass"), Column("Reason"), AGE_COLUMN, Column("VolumeMode", priority=1),
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        spec.setdefault("volumeMode", "Filesystem")
        default_source(spec)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": times.text(ctx.now)}

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        """Who changes the phase need not say when."""
        super().prepare_subresource(sub, obj, old, ctx)
        status, before = obj.setdefault("status", {}), old.get("status") or {}
        untold = status.get("lastPhaseTransitionTime") in (None, before.get("lastPhaseTransitionTime"))
        if untold and status.get("phase") != before.get("phase"):
            status["lastPhaseTransitionTime"] = times.text(ctx.now)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out = validate_access_modes(spec.get("accessModes") or [], "spec.accessModes", "")
        out += _validate_capacity(spec.get("capacity"))
        out += some_of("spec.persistentVolumeReclaimPolicy", spec["persistentVolumeReclaimPolicy"], _POLICIES)
        out += _validate_affinity(spec.get("nodeAffinity"))
        out += validate_sources(spec, "spec", obj["metadata"].get("name") or "")
        if (spec.get("hostPath") or {}).get("path") == "/" and spec["persistentVolumeReclaimPolicy"] == "Recycle":
            out.append(forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"))
        if spec.get("storageClassName"):
            out += named("spec.storageClassName", spec["storageClassName"], names.dns1123_subdomain(spec["storageClassName"]))
        out += some_of("spec.volumeMode", spec["volumeMode"], VOLUME_MODES)
        return out + _validate_attributes_class(spec) + _validate_mount_options(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        spec, before = obj["spec"], old["spec"]
        out = self.validate(obj) * 2  # once for the object, once more for the change
        if not _same_source(spec, before):
            what = "spec.persistentvolumesource"
            out.append(
                forbidden(what, f"{what} is immutable after creation\n{difference(source_dump(before), source_dump(spec))}")
            )
        out += immutable("volumeMode", spec["volumeMode"], before.get("volumeMode"))
        affinity = before.get("nodeAffinity")
        if affinity is not None and _renamed(affinity, spec.get("nodeAffinity")) != spec.get("nodeAffinity"):
            told = "field is immutable, except for updating from beta label to GA"
            out.append(invalid("nodeAffinity", shown_affinity(spec.get("nodeAffinity")), told))
        if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
            out.append(forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"))
        return out

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        spec, out = obj["spec"], storage_class_warning(obj)
        if MOUNT_OPTIONS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
            told = 'deprecated since v1.31; use "mountOptions" attribute instead'
            out.append(f"metadata.annotations[{MOUNT_OPTIONS_ANNOTATION}]: {told}")
        if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            out.append(f"spec.persistentVolumeReclaimPolicy: {_RECYCLE}")
        required = (spec.get("nodeAffinity") or {}).get("required")
        out += deprecated_labels(required, "spec.nodeAffinity.required")
        return out + [
            f"spec.{_SHOWN.get(key, key)}: {DEPRECATED_VOLUMES[key]}" for key in _DEPRECATED if spec.get(key) is not None
        ]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        claim = spec.get("claimRef")
        return [
            table.name_of(obj),
            (spec.get("capacity") or {}).get("storage", "0"),
            table.access_modes(spec.get("accessModes")),
            spec.get("persistentVolumeReclaimPolicy", ""),
            phase(obj),
            f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
            storage_class(obj),
            table.or_word(spec.get("volumeAttributesClassName"), table.UNSET),
            status.get("reason", ""),
            table.age(obj, now),
            table.or_word(spec.get("volumeMode"), table.UNSET),
        ]


def phase(obj: Obj) -> str:
    """The phase, or that it is being deleted."""
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else (obj.get("status") or {}).get("phase", "")


def storage_class(obj: Obj) -> str:
    """The storage class of a volume or claim: an old annotation wins over the field."""
    annotations = obj["metadata"].get("annotations") or {}
    found: str = annotations.get(STORAGE_CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""
    return found


def validate_access_modes(modes: list[str], path: str, none: str) -> list[FieldError]:
    """At least one of the known modes; exclusive use by one pod goes with no other."""
    out = [] if modes else [required(path, none)]
    out += [not_supported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        out.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return out


def _validate_capacity(capacity: dict[str, str] | None) -> list[FieldError]:
    path = "spec.capacity"
    out = [] if capacity else [required(path)]
    if not capacity or set(capacity) != {"storage"}:
        out.append(not_supported(path, dict(sorted(capacity.items())) if capacity else None, ("storage",)))
    for name, value in (capacity or {}).items():
        out += positive_quantity(f"{path}[{name}]", value)
    return out


def _validate_affinity(affinity: Obj | None) -> list[FieldError]:
    if affinity is None:
        return []
    if affinity.get("required") is None:
        return [required("spec.nodeAffinity.required", "must specify required node constraints")]
    return validate_node_selector(affinity["required"], "spec.nodeAffinity.required")


def _validate_attributes_class(spec: Obj) -> list[FieldError]:
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return []
    path = "spec.volumeAttributesClassName"
    out = named(path, name, names.dns1123_subdomain(name)) if name else [required(path, "an empty string is disallowed")]
    if spec.get("csi") is None:
        out.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))
    return out


def _validate_mount_options(obj: Obj) -> list[FieldError]:
    """The old annotation, which not all kinds of volumes know."""
    if MOUNT_OPTIONS_ANNOTATION not in (obj["metadata"].get("annotations") or {}) or MOUNTABLE & set(sources_of(obj["spec"])):
        return []
    return [forbidden(f"metadata.annotations.{MOUNT_OPTIONS_ANNOTATION}", "may not specify mount options for this volume type")]


def _same_source(spec: Obj, old: Obj) -> bool:
    new, before = sources_of(spec), sources_of(old)
    if "csi" in new and "csi" in before:
        later = {
            k: v
            for k, v in new["csi"].items()
            if k in ("controllerExpandSecretRef", "nodeExpandSecretRef") and k not in before["csi"]
        }
        before = {**before, "csi": {**before["csi"], **later}}
    return new == before


def _renamed(affinity: Obj, new: Obj | None) -> Obj:
    """An affinity with the newer names of labels where the new one has them. As in the reference, an empty key passes for a newer name."""
    terms = []
    older: list[Obj] = (affinity.get("required") or {}).get("nodeSelectorTerms") or []
    newer: list[Obj] = ((new or {}).get("required") or {}).get("nodeSelectorTerms") or []
    for n, term in enumerate(older):
        other: Obj = newer[n] if n < len(newer) else {}
        wanted = [e.get("key") or "" for e in other.get("matchExpressions") or ()]
        expressions = [
            {**e, "key": key} if RENAMED_LABELS.get(e.get("key"), ("", ""))[1] == key else e
            for e, key in zip_longest(term.get("matchExpressions") or [], wanted)
            if e is not None
        ]
        terms.append({**term, "matchExpressions": expressions} if expressions else term)
    return {**affinity, "required": {**(affinity.get("required") or {}), "nodeSelectorTerms": terms}}


def storage_class_warning(obj: Obj) -> list[str]:
    if STORAGE_CLASS_ANNOTATION not in (obj["metadata"].get("annotations") or {}):
        return []
    return [f'metadata.annotations[{STORAGE_CLASS_ANNOTATION}]: deprecated since v1.8; use "storageClassName" attribute instead']


def fractional_bytes(resources: dict[str, str] | None, path: str) -> list[str]:
    """Warnings for amounts of storage that are no whole bytes."""
    return [
        f'{path}[{name}]: fractional byte value "{value}" is invalid, must be an integer'
        for name, value in (resources or {}).items()
        if name == "storage" and quantity.parse(value).nano % quantity.NANO
    ]
