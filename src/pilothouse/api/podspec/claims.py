"""PersistentVolumeClaims that pods and StatefulSets carry as templates (API reference: PersistentVolumeClaimSpec)."""

from __future__ import annotations

from pilothouse.api import names, quantity
from pilothouse.api.errors import Obj, forbidden, invalid, not_supported, required
from pilothouse.api.meta import validate_annotations, validate_labels
from pilothouse.api.podspec.checks import Errors, label_selector, name_errors

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_LABELS_ONLY = ("labels", "annotations")


def check_claim_template(template: Obj, path: str, out: Errors) -> None:
    """A template whose metadata can hold labels and annotations only: the claim's name is made from the pod's."""
    meta = template.get("metadata") or {}
    out += validate_annotations(meta.get("annotations"), f"{path}.metadata.annotations")
    out += validate_labels(meta.get("labels"), f"{path}.metadata.labels")
    out.extend(forbidden(f"{path}.metadata.{field}", "cannot be set") for field in meta if field not in _LABELS_ONLY)
    check_claim_spec(template.get("spec") or {}, f"{path}.spec", out)


def check_claim_spec(spec: Obj, path: str, out: Errors) -> None:
    """What is asked for: how it is accessed, how much of it, and from where."""
    modes = spec.get("accessModes") or []
    if not modes:
        out.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    label_selector(spec.get("selector"), f"{path}.selector", out)
    out.extend(not_supported(f"{path}.accessModes", mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        told = "may not use ReadWriteOncePod with other access modes"
        out.append(forbidden(f"{path}.accessModes", told))
    _check_storage(spec, path, out)
    if spec.get("storageClassName"):
        name_errors(spec["storageClassName"], names.dns1123_subdomain, f"{path}.storageClassName", out)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        out.append(not_supported(f"{path}.volumeMode", mode, _VOLUME_MODES))


def _check_storage(spec: Obj, path: str, out: Errors) -> None:
    amount = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    where = f"{path}.resources[storage]"
    if amount is None:
        out.append(required(where))
    elif quantity.sign(amount) <= 0:
        out.append(invalid(where, amount, "must be greater than zero"))
