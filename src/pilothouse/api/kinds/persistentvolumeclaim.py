"""PersistentVolumeClaim: a request for storage, and the volume that answers it.

`dataSource` and `dataSourceRef` say the same (KEP-1495); the older one knows claims and snapshots only, and what else it names is
dropped. References into other namespaces are off by default, and dropped, too.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, quantity, table
from pilothouse.api.checks import immutable, named, positive_quantity, some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.internal_form import difference, dump
from pilothouse.api.kinds.persistentvolume import (
    VOLUME_MODES,
    fractional_bytes,
    phase,
    storage_class,
    storage_class_warning,
    validate_access_modes,
)
from pilothouse.api.selectors import validate_label_selector
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy

_SNAPSHOTS = "snapshot.storage.k8s.io"
_RESIZING = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending",
)  # fmt: skip
_UNCHANGEABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


class PersistentVolumeClaimStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Status"), Column("Volume"), Column("Capacity"), Column("Access Modes"), Column("StorageClass"),
        Column("VolumeAttributesClass"), AGE_COLUMN, Column("VolumeMode", priority=1),
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"phase": "Pending"}
        _unify_sources(obj["spec"], {})

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)
        _unify_sources(obj["spec"], old["spec"])

    def validate(self, obj: Obj) -> list[FieldError]:
        return validate_claim_spec(obj["spec"], "spec")

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        spec, before = obj["spec"], old["spec"]
        out = self.validate(obj)
        frozen = _as_before(spec, before, (obj.get("status") or {}).get("phase") == "Bound")
        if _spec_dump(frozen) != _spec_dump(before):
            out.append(forbidden("spec", f"{_UNCHANGEABLE}\n{difference(_spec_dump(before), _spec_dump(frozen))}"))
        wanted, had = _requested(spec), _requested(before)
        if quantity.compare(wanted, had) < 0:
            capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
            if quantity.compare(wanted, capacity) <= 0:
                out.append(forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
        return out + immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        status = obj.get("status") or {}
        out = _amounts(status.get("capacity"), "status.capacity", free=True)
        for key, told in (status.get("allocatedResourceStatuses") or {}).items():
            out += _of_a_claim(key, "status.allocatedResourceStatus")
            if told not in _RESIZING:
                out.append(not_supported("status.allocatedResourceStatus", told, _RESIZING))
        return out + _amounts(status.get("allocatedResources"), "status.allocatedResources", free=False)

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        resources = obj["spec"].get("resources") or {}
        out = storage_class_warning(obj)
        for key in ("requests", "limits"):
            out += fractional_bytes(resources.get(key), f"spec.resources.{key}")
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        volume = spec.get("volumeName", "")
        return [
            table.name_of(obj),
            phase(obj),
            volume,
            (status.get("capacity") or {}).get("storage", "0") if volume else "",
            table.access_modes(status.get("accessModes")) if volume else "",
            storage_class(obj),
            table.or_word(spec.get("volumeAttributesClassName"), table.UNSET),
            table.age(obj, now),
            table.or_word(spec.get("volumeMode"), table.UNSET),
        ]


def _amounts(amounts: dict[str, str] | None, path: str, free: bool) -> list[FieldError]:
    """Errors of what a claim has or is given. `free`: under whichever names."""
    out: list[FieldError] = []
    for key, amount in (amounts or {}).items():
        wrong = [] if free else _of_a_claim(key, path)
        if not wrong and quantity.sign(amount) < 0:
            wrong = [invalid(f"{path}[{key}]", quantity.parse(amount).nano // quantity.NANO, "must be a valid resource quantity")]
        out += wrong
    return out


def _of_a_claim(name: str, path: str) -> list[FieldError]:
    """Storage, or something with a domain that is not Kubernetes' own."""
    out = named(path, name, names.qualified_name(name))
    domain, slash, _ = name.partition("/")
    reserved = not slash or domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    return out if out or name == "storage" or not reserved else [not_supported(path, name, ("storage",))]


def validate_claim_spec(spec: Obj, path: str) -> list[FieldError]:
    """Errors of a claim's specification, or of a template's."""
    out = [] if spec.get("accessModes") else [required(f"{path}.accessModes", "at least 1 access mode is required")]
    if spec.get("selector") is not None:
        out += validate_label_selector(spec["selector"], f"{path}.selector")
    if spec.get("accessModes"):
        out += validate_access_modes(spec["accessModes"], f"{path}.accessModes", "")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    where = f"{path}.resources[storage]"
    out += [required(where)] if storage is None else positive_quantity(where, storage)
    if spec.get("storageClassName"):
        out += named(f"{path}.storageClassName", spec["storageClassName"], names.dns1123_subdomain(spec["storageClassName"]))
    if spec.get("volumeMode") is not None:
        out += some_of(f"{path}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    for key in ("dataSource", "dataSourceRef"):
        if spec.get(key) is not None:
            out += _validate_source(spec[key], f"{path}.{key}")
    both = spec.get("dataSource") is not None and spec.get("dataSourceRef") is not None
    if both and _what(spec["dataSource"]) != _what(spec["dataSourceRef"]):
        out.append(invalid(path, {}, "must match dataSourceRef"))
    name = spec.get("volumeAttributesClassName")
    return out + named(f"{path}.volumeAttributesClassName", name, names.dns1123_subdomain(name)) if name else out


def _validate_source(source: Obj, path: str) -> list[FieldError]:
    kind, group = source.get("kind") or "", source.get("apiGroup") or ""
    out = [required(f"{path}.{key}") for key in ("name", "kind") if not source.get(key)]
    if not group and kind != "PersistentVolumeClaim":
        out.append(invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
    return out + named(f"{path}.apiGroup", group, names.dns1123_subdomain(group)) if group else out


def _what(source: Obj) -> tuple[str, str, str]:
    return (source.get("apiGroup") or "", source.get("kind") or "", source.get("name") or "")


def _unify_sources(spec: Obj, old: Obj) -> None:
    """Drop what is not supported, then let both fields say what one of them says."""
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if ref is not None and ref.get("namespace") and not (old.get("dataSourceRef") or {}).get("namespace"):
        del spec["dataSourceRef"]
        ref = None
    known = (("", "PersistentVolumeClaim"), (_SNAPSHOTS, "VolumeSnapshot"))
    if source is not None and _what(source)[:2] not in known and old.get("dataSource") is None:
        del spec["dataSource"]
        source = None
    if source is not None and ref is None:
        spec["dataSourceRef"] = dict(source)
    elif ref is not None and source is None and not ref.get("namespace"):
        spec["dataSource"] = {k: v for k, v in ref.items() if k != "namespace"}


def _requested(spec: Obj) -> str:
    found: str = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return found


def _as_before(spec: Obj, old: Obj, bound: bool) -> Obj:
    """The new specification with what may change as it was."""
    out = dict(spec)
    if not old.get("volumeName"):
        out["volumeName"] = old.get("volumeName", "")
    if not bound:
        return out
    if (spec.get("resources") or {}).get("requests") is not None:
        resources = old.get("resources") or {}
        requests = {**spec["resources"]["requests"], "storage": (resources.get("requests") or {}).get("storage", "0")}
        out["resources"] = {**spec["resources"], "requests": requests}
    if out.get("volumeAttributesClassName") is not None:
        out["volumeAttributesClassName"] = old.get("volumeAttributesClassName")
    return out


def _spec_dump(spec: Obj) -> Obj:
    """The specification in the reference server's internal form."""
    resources = spec.get("resources") or {}
    source = "APIGroup:apiGroup? Kind:kind Name:name"
    return {
        "AccessModes": spec.get("accessModes"),
        "Selector": _selector_dump(spec.get("selector")),
        "Resources": {"Limits": resources.get("limits"), "Requests": resources.get("requests")},
        "VolumeName": spec.get("volumeName") or "",
        "StorageClassName": spec.get("storageClassName"),
        "VolumeMode": spec.get("volumeMode"),
        "DataSource": dump(spec.get("dataSource"), source),
        "DataSourceRef": dump(spec.get("dataSourceRef"), source + " Namespace:namespace?"),
        "VolumeAttributesClassName": spec.get("volumeAttributesClassName"),
    }


def _selector_dump(selector: Obj | None) -> Obj | None:
    if selector is None:
        return None
    out = {"matchLabels": selector["matchLabels"]} if selector.get("matchLabels") else {}
    if selector.get("matchExpressions"):
        keys = ("key", "operator", "values")
        out["matchExpressions"] = [{k: e[k] for k in keys if k in e} for e in selector["matchExpressions"]]
    return out
