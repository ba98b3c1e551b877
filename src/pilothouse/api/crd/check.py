"""What makes a CustomResourceDefinition right or wrong: its names, versions and schemas.

API reference: CustomResourceDefinition; "Specifying a structural schema" in the documentation of CustomResourceDefinitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pilothouse.api import names
from pilothouse.api.crd import clientconfig, selectable
from pilothouse.api.crd.definition import schema_of
from pilothouse.api.crd.structure import schema_errors
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.meta import immutable

_APPROVED = "api-approved.kubernetes.io"
_NO_PATH = "must be a simple json path starting with ."
_EITHER = (".spec.", ".status.")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_LOST = (
    "missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a storage migration "
    "ensures no data remains persisted in {0} and removes {0} from status.storedVersions"
)
_PULL = "see https://github.com/kubernetes/enhancements/pull/1111"


def definition(crd: Obj) -> list[FieldError]:
    """Errors of a new definition."""
    spec = crd["spec"]
    wanted = f"{spec.get('names', {}).get('plural') or ''}.{spec.get('group') or ''}"
    out = []
    if crd["metadata"].get("name") not in (None, "", wanted):
        out.append(invalid("metadata.name", crd["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'))
    return out + _spec(spec) + _stored(crd) + _approval(crd)


def changed(crd: Obj, old: Obj) -> list[FieldError]:
    """Errors of a changed definition. What has been served cannot change its names or scope."""
    before = {v.get("name"): schema_of(v) for v in old["spec"].get("versions") or ()}
    out = _spec(crd["spec"], before) + _stored(crd)
    new_spec, old_spec = crd["spec"], old["spec"]
    out += immutable(new_spec.get("group"), old_spec.get("group"), "spec.group")
    out += immutable(new_spec["names"].get("plural"), old_spec["names"].get("plural"), "spec.names.plural")
    established = any(c.get("type") == "Established" and c.get("status") == "True" for c in old["status"].get("conditions") or ())
    if established:
        out += immutable(new_spec.get("scope"), old_spec.get("scope"), "spec.scope")
        out += immutable(new_spec["names"].get("kind"), old_spec["names"].get("kind"), "spec.names.kind")
    return out


def _spec(spec: Obj, before: Mapping[str, Obj] = MappingProxyType({})) -> list[FieldError]:
    """`before` has the schemas of versions as they were."""
    out: list[FieldError] = []
    group = spec.get("group") or ""
    if not group:
        out.append(required("spec.group"))
    else:
        wrong = names.dns1123_subdomain(group)
        out += [invalid("spec.group", group, m) for m in wrong]
        if not wrong and "." not in group:
            out.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    scope = spec.get("scope") or ""
    if not scope:
        out.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        out.append(not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    return (
        out + _versions(spec, before) + _names(spec.get("names") or {}, "spec.names") + _conversion(spec.get("conversion") or {})
    )


def _versions(spec: Obj, before: Mapping[str, Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    versions = spec.get("versions")
    if spec.get("preserveUnknownFields"):
        told = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        out.append(invalid("spec.preserveUnknownFields", True, told))
    for n, version in enumerate(versions or ()):
        where = f"spec.versions[{n}]"
        out += [invalid(f"{where}.name", version.get("name") or "", m) for m in names.dns1035_label(version.get("name") or "")]
        schema = schema_of(version)
        missing = (version.get("schema") or {}).get("openAPIV3Schema") is None
        if missing:
            out.append(required(f"{where}.schema.openAPIV3Schema"))
        alone = "spec" if len(versions or ()) == 1 else where
        out += _scale(version, f"{alone}.subresources.scale")
        out += _columns(version.get("additionalPrinterColumns") or (), f"{alone}.additionalPrinterColumns")
        out += _deprecation(version, f"{where}.deprecationWarning")
        path = "spec.validation.openAPIV3Schema" if len(versions or ()) == 1 else f"{where}.schema.openAPIV3Schema"
        out += [] if missing else schema_errors(schema, path, before.get(version.get("name") or "") == schema)
        out += selectable.errors(version.get("selectableFields") or [], schema, f"{alone}.selectableFields")
    storage = [v for v in versions or () if v.get("storage")]
    if len({v.get("name") for v in versions or ()}) != len(versions or ()):
        out.append(invalid("spec.versions", _shown(versions), "must contain unique version names"))
    if len(storage) != 1:
        out.append(invalid("spec.versions", _shown(versions), "must have exactly one version marked as storage version"))
    first = versions[0].get("name") if versions else ""
    return out + ([invalid("spec.version", first, m) for m in names.dns1035_label(first)] if first else [])


def _scale(version: Obj, path: str) -> list[FieldError]:
    """Where replicas are found: paths of plain names below spec and status."""
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return []
    out: list[FieldError] = []
    for key, starts in (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",)), ("labelSelectorPath", _EITHER)):
        text = scale.get(key) or ""
        if not text and key != "labelSelectorPath":
            out.append(required(f"{path}.{key}"))
        elif text and not text.startswith("."):
            out.append(invalid(f"{path}.{key}", text, _NO_PATH))
        elif text and not text.startswith(starts):
            where = " or ".join(start[:-1] for start in starts)
            out.append(
                invalid(f"{path}.{key}", text, f"should be a json path under {'either ' if len(starts) > 1 else ''}{where}")
            )
    return out


def _columns(columns: Iterable[Obj], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for n, column in enumerate(columns):
        where, kind, form, text = f"{path}[{n}]", column.get("type"), column.get("format"), column.get("jsonPath")
        if not column.get("name"):
            out.append(required(f"{where}.name"))
        if not kind:
            out.append(required(f"{where}.type"))
        elif kind not in _COLUMN_TYPES:
            out.append(invalid(f"{where}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}"))
        if form and form not in _COLUMN_FORMATS:
            out.append(invalid(f"{where}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
        if not text:
            out.append(required(f"{where}.JSONPath"))
        elif not text.startswith("."):
            out.append(invalid(f"{where}.JSONPath", text, _NO_PATH))
    return out


def _shown(versions: Any) -> Any:
    """Versions as Kubernetes' message shows them."""
    if not versions:
        return versions
    fields = ("Deprecated", "DeprecationWarning", "Schema", "Subresources", "AdditionalPrinterColumns", "SelectableFields")
    head = [{"Name": v.get("name") or "", "Served": bool(v.get("served")), "Storage": bool(v.get("storage"))} for v in versions]
    return [
        h | {f: bool(v.get("deprecated")) if f == "Deprecated" else None for f in fields}
        for h, v in zip(head, versions, strict=True)
    ]


def _deprecation(version: Obj, path: str) -> list[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    if not version.get("deprecated"):
        return [invalid(path, warning, "can only be set for deprecated versions")]
    if not warning:
        return [invalid(path, warning, "must not be an empty string")]
    if len(warning) > 256:
        return [invalid(path, warning, "must be <= 256 characters long")]
    for n, char in enumerate(warning):
        if not char.isprintable():
            return [
                invalid(
                    path, warning, f"must only contain printable UTF-8 characters; non-printable character found at index {n}"
                )
            ]
    return []


def _names(given: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key in ("plural", "singular", "kind", "listKind"):
        value = given.get(key) or ""
        if not value:
            out.append(required(f"{path}.{key}"))
        else:
            mixed = "may have mixed case, but should otherwise match: " if key in ("kind", "listKind") else ""
            out += [invalid(f"{path}.{key}", value, mixed + m) for m in names.dns1035_label(value.lower() if mixed else value)]
    for n, short in enumerate(given.get("shortNames") or ()):
        out += [invalid(f"{path}.shortNames[{n}]", short, m) for m in names.dns1035_label(short)]
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        out.append(invalid(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same"))
    for n, category in enumerate(given.get("categories") or ()):
        out += [invalid(f"{path}.categories[{n}]", category, m) for m in names.dns1035_label(category)]
    return out


def _conversion(conversion: Obj) -> list[FieldError]:
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions")
    where = "spec.conversion"
    if not strategy:
        return [required(f"{where}.strategy")]
    if strategy not in ("None", "Webhook"):
        return [not_supported(f"{where}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        told = "should not be set when strategy is not set to Webhook"
        out = [forbidden(f"{where}.webhookClientConfig", told)] if client is not None else []
        return out + ([forbidden(f"{where}.conversionReviewVersions", told)] if reviews else [])
    if client is None:
        out = [required(f"{where}.webhookClientConfig", "required when strategy is set to Webhook")]
    else:
        out = clientconfig.errors(client, f"{where}.webhookClientConfig")
    if not reviews:
        out.append(required(f"{where}.conversionReviewVersions"))
        return out
    return out + clientconfig.review_versions(reviews, f"{where}.conversionReviewVersions", ("v1", "v1beta1"))


def _stored(crd: Obj) -> list[FieldError]:
    stored = (crd.get("status") or {}).get("storedVersions")
    if not stored:
        return [invalid("status.storedVersions", stored, "must have at least one stored version")]
    known = [v.get("name") for v in crd["spec"].get("versions") or ()]
    out = [invalid(f"status.storedVersions[{n}]", v, _LOST.format(v)) for n, v in enumerate(stored) if v not in known]
    storages = [v.get("name") for v in crd["spec"].get("versions") or () if v.get("storage")]
    for version in [v for v in storages if v not in stored]:
        out.append(invalid("status.storedVersions", stored, f"must have the storage version {version}"))
    return out


def protected(group: str) -> bool:
    """Groups of the Kubernetes community, whose kinds need its approval."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def _approval(crd: Obj) -> list[FieldError]:
    if not protected(crd["spec"].get("group") or ""):
        return []
    path = f"metadata.annotations[{_APPROVED}]"
    said = (crd["metadata"].get("annotations") or {}).get(_APPROVED) or ""
    need = f'protected groups must have approval annotation "{_APPROVED}"'
    if not said:
        return [required(path, f"{need}, {_PULL}")]
    if said.startswith("unapproved") or ("://" in said and not said.startswith("://")):
        return []
    return [invalid(path, said, f'{need} with either a URL or a reason starting with "unapproved", {_PULL}')]
