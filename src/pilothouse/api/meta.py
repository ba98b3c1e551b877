"""ObjectMeta: validation on create and on update (API reference: ObjectMeta; API conventions: metadata)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, quote, required, too_long

NameCheck = Callable[[str, bool], list[str]]

ANNOTATIONS_LIMIT = 256 * 1024
_STANDARD_FINALIZERS = {"orphan", "foregroundDeletion", "kubernetes", "customresourcecleanup.apiextensions.k8s.io"}


def validate_object_meta(
    meta: Obj, namespaced: bool, name_errors: NameCheck, path: str = "metadata", *, bare_finalizers: bool = False
) -> list[FieldError]:
    """Errors of a new object's metadata. `bare_finalizers`: see `validate_finalizers`."""
    out: list[FieldError] = []
    if meta.get("generateName"):
        out += [invalid(f"{path}.generateName", meta["generateName"], m) for m in name_errors(meta["generateName"], True)]
    if not meta.get("name"):
        out.append(required(f"{path}.name", "name or generateName is required"))
    else:
        out += [invalid(f"{path}.name", meta["name"], m) for m in name_errors(meta["name"], False)]
    out += _validate_namespace(meta.get("namespace") or "", namespaced, path)
    return out + validate_common(meta, path, bare_finalizers=bare_finalizers)


def _validate_namespace(namespace: str, namespaced: bool, path: str) -> list[FieldError]:
    if not namespaced:
        return [forbidden(f"{path}.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required(f"{path}.namespace")]
    return [invalid(f"{path}.namespace", namespace, m) for m in names.dns1123_label(namespace)]


def validate_common(meta: Obj, path: str, *, bare_finalizers: bool = False) -> list[FieldError]:
    """What a new object's metadata is checked for besides its name, and a changed object's again."""
    out: list[FieldError] = []
    if (meta.get("generation") or 0) < 0:
        out.append(invalid(f"{path}.generation", meta["generation"], "must be greater than or equal to 0"))
    out += _validate_parts(meta, path)
    if meta.get("finalizers"):
        out += validate_finalizers(meta["finalizers"], f"{path}.finalizers", bare_finalizers)
    return out


def _validate_parts(meta: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if meta.get("labels"):
        out += validate_labels(meta["labels"], f"{path}.labels")
    if meta.get("annotations"):
        out += validate_annotations(meta["annotations"], f"{path}.annotations")
    if meta.get("ownerReferences"):
        out += validate_owner_references(meta["ownerReferences"], f"{path}.ownerReferences")
    if meta.get("managedFields"):
        out += validate_managed_fields(meta["managedFields"], f"{path}.managedFields")
    return out


def validate_labels(labels: dict[str, str] | None, path: str) -> list[FieldError]:
    """Keys are qualified names, values label values."""
    out: list[FieldError] = []
    for key, value in sorted((labels or {}).items()):
        out += [invalid(path, key, m) for m in names.qualified_name(key)]
        out += [invalid(path, value, m) for m in names.label_value(value)]
    return out


def validate_annotations(annotations: dict[str, str] | None, path: str) -> list[FieldError]:
    """Keys are qualified names whatever their case; all together at most 256 KiB."""
    out: list[FieldError] = []
    total = 0
    for key, value in sorted((annotations or {}).items()):
        total += names.size(key) + names.size(value)
        out += [invalid(path, key, m) for m in names.qualified_name(key.lower())]
    if total > ANNOTATIONS_LIMIT:
        out.append(too_long(path, ANNOTATIONS_LIMIT))
    return out


def validate_owner_references(references: list[Obj] | None, path: str) -> list[FieldError]:
    """Complete references, no Event among them, at most one controller."""
    out: list[FieldError] = []
    controllers: list[str] = []
    for ref in references or ():
        version = (ref.get("apiVersion") or "").split("/")
        if len(version) > 2 or not version[-1]:
            out.append(invalid(f"{path}.apiVersion", ref.get("apiVersion") or "", "version must not be empty"))
        for key in ("kind", "name", "uid"):
            if not ref.get(key):
                out.append(invalid(f"{path}.{key}", ref.get(key) or "", "must not be empty"))
        if ref.get("kind") == "Event" and ref.get("apiVersion") == "v1":
            out.append(invalid(path, ref, "/v1, Kind=Event is disallowed from being an owner"))
        if ref.get("controller"):
            controllers.append(f"{ref.get('kind')}/{ref.get('name')}")
    if len(controllers) > 1:
        told = f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and {controllers[1]}'
        out.append(invalid(path, references, told))
    return out


def validate_managed_fields(entries: list[Obj], path: str) -> list[FieldError]:
    """Who owns which fields: known operations and formats, names of managers that can be printed."""
    out: list[FieldError] = []
    for n, entry in enumerate(entries):
        where = f"{path}[{n}]"
        if entry.get("operation") not in ("Apply", "Update"):
            out.append(invalid(f"{where}.operation", entry.get("operation") or "", "must be `Apply` or `Update`"))
        if entry.get("fieldsType") not in (None, "", "FieldsV1"):
            out.append(invalid(f"{where}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        out += validate_field_manager(entry.get("manager") or "", f"{where}.manager")
        if names.size(entry.get("subresource") or "") > 256:
            out.append(too_long(f"{where}.subresource", 256))
    return out


def validate_field_manager(manager: str, path: str) -> list[FieldError]:
    """At most 128 bytes that can be printed."""
    out = [] if names.size(manager) <= 128 else [too_long(path, 128)]
    for n, char in enumerate(manager):
        if not char.isprintable():
            return [*out, invalid(path, manager, f"invalid character U+{ord(char):04X} (at position {n})")]
    return out


def validate_finalizers(finalizers: list[str] | None, path: str, bare: bool = False) -> list[FieldError]:
    """Qualified names; without a prefix only the standard ones (with `bare` any); not both of the garbage collector's."""
    out: list[FieldError] = []
    for n, finalizer in enumerate(finalizers or ()):
        out += (
            [invalid(path, finalizer, m) for m in names.qualified_name(finalizer)]
            if bare
            else validate_finalizer(finalizer, path, n)
        )
    if {"orphan", "foregroundDeletion"} <= set(finalizers or ()):
        out.append(invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))
    return out


def validate_finalizer(finalizer: str, path: str, index: int) -> list[FieldError]:
    out = [invalid(path, finalizer, m) for m in names.qualified_name(finalizer)]
    if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        out.append(invalid(f"{path}[{index}]", finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
    return out


def immutable(new: Any, old: Any, path: str) -> list[FieldError]:
    """The field may not change."""
    return [] if (new or None) == (old or None) else [invalid(path, new, "field is immutable")]


def validate_object_meta_update(new: Obj, old: Obj, path: str = "metadata") -> list[FieldError]:
    """Errors of changed metadata: no new finalizers on an object that is being deleted, what never changes, and labels and their like.

    Finalizers themselves are not looked at: `validate_common` does that.
    """
    out: list[FieldError] = []
    if old.get("deletionTimestamp"):
        out += _new_finalizers(new.get("finalizers") or [], old.get("finalizers") or [], path)
    if (new.get("generation") or 0) < (old.get("generation") or 0):
        out.append(invalid(f"{path}.generation", new.get("generation") or 0, "must not be decremented"))
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        out += immutable(new.get(key), old.get(key), f"{path}.{key}")
    return out + _validate_parts(new, path)


def _new_finalizers(new: list[str], old: list[str], path: str) -> list[FieldError]:
    extra = [f for f in new if f not in old]
    if not extra:
        return []
    listed = ", ".join(quote(f) for f in extra)
    told = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [forbidden(f"{path}.finalizers", told)]
