"""A CustomResourceDefinition, read: which resources it serves, in which versions, and what its status says of it.

API reference: CustomResourceDefinition v1 apiextensions.k8s.io.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.discovery import CUSTOM_VERBS, version_key
from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource, Subresource

GROUP, PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_PART_VERBS = ("get", "patch", "update")


def condition(crd: Obj, type: str) -> Obj | None:
    """One of the definition's conditions."""
    for found in (crd.get("status") or {}).get("conditions") or ():
        if found.get("type") == type:
            return dict(found)
    return None


def is_true(crd: Obj, type: str) -> bool:
    """Whether a condition is there and True."""
    found = condition(crd, type)
    return found is not None and found.get("status") == "True"


def storage_version(crd: Obj) -> str:
    """The version in which objects are stored."""
    return next((v.get("name") or "" for v in crd["spec"].get("versions") or () if v.get("storage")), "")


def schema_of(version: Obj) -> Obj:
    """The OpenAPI schema of a version; {} where it has none."""
    return (version.get("schema") or {}).get("openAPIV3Schema") or {}


def version_of(crd: Obj, name: str) -> Obj:
    """One entry of spec.versions. KeyError if there is none."""
    for version in crd["spec"]["versions"]:
        if version["name"] == name:
            found: Obj = version
            return found
    raise KeyError(name)


def resources_of(crd: Obj) -> list[Resource]:
    """What the definition serves, the preferred version first, under the names that were accepted."""
    spec = crd["spec"]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    served = sorted((v for v in spec["versions"] if v.get("served")), key=lambda v: version_key(v["name"]))
    return [_resource(spec, names, version, storage_version(crd)) for version in served]


def _resource(spec: Obj, names: Obj, version: Obj, storage: str) -> Resource:
    group = spec["group"]
    kind = names["kind"]
    return Resource(
        group=group,
        version=version["name"],
        plural=names["plural"],
        kind=kind,
        singular=names.get("singular") or kind.lower(),
        namespaced=spec.get("scope") == "Namespaced",
        verbs=CUSTOM_VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=_subresources(group, kind, version),
        prefix=f"{group}/{names['plural']}",
        storage=(group, storage),
        list_kind=names.get("listKind") or kind + "List",
    )


def _subresources(group: str, kind: str, version: Obj) -> dict[str, Subresource]:
    wanted: dict[str, Any] = version.get("subresources") or {}
    out = {}
    if wanted.get("status") is not None:
        out["status"] = Subresource("status", _PART_VERBS, group, version["name"], kind)
    if wanted.get("scale") is not None:
        out["scale"] = Subresource("scale", _PART_VERBS, "autoscaling", "v1", "Scale")
    return out
