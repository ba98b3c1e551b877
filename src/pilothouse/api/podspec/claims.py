"""PersistentVolumeClaims that pods carry as templates of their ephemeral volumes (API reference: PersistentVolumeClaimTemplate)."""

from __future__ import annotations

from pilothouse.api.errors import Obj, forbidden
from pilothouse.api.kinds.persistentvolumeclaim import validate_claim_spec
from pilothouse.api.meta import validate_annotations, validate_labels
from pilothouse.api.podspec.checks import Errors


def check_claim_template(template: Obj, path: str, out: Errors) -> None:
    """A template whose metadata can hold labels and annotations only: the claim's name is made from the pod's."""
    meta = template.get("metadata") or {}
    out += validate_annotations(meta.get("annotations"), f"{path}.metadata.annotations")
    out += validate_labels(meta.get("labels"), f"{path}.metadata.labels")
    out.extend(forbidden(f"{path}.metadata.{field}", "cannot be set") for field in meta if field not in ("labels", "annotations"))
    out += validate_claim_spec(template.get("spec") or {}, f"{path}.spec")
