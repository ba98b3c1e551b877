"""Discovery documents: which groups, versions and resources there are, in the plain forms and the aggregated one.

Pure functions of a list of resources, so that custom resources appear by being in the list. Orders are those of the reference server:
groups by the priority of their APIService, versions newest and most stable first, resources by name (API reference: "API discovery").
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource, Subresource
from pilothouse.api.tables import GROUP_PRIORITY

_PRIORITY = dict(GROUP_PRIORITY)
#: What an APIService of a custom resource's group gets.
_CUSTOM_PRIORITY = 1000
#: The verbs of custom resources, in the order in which the reference server lists them.
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def version_key(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, then anything else by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    level = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (level, -int(match[1]), -int(match[3] or 0), version)


def group_names(resources: Iterable[Resource]) -> list[str]:
    """The groups in discovery order, the core group ("") first."""
    return sorted({r.group for r in resources}, key=lambda g: (g != "", -_PRIORITY.get(g, _CUSTOM_PRIORITY), g))


def version_names(resources: Iterable[Resource], group: str) -> list[str]:
    """The versions of a group, the preferred one first."""
    return sorted({r.version for r in resources if r.group == group}, key=version_key)


def _by_group(resources: Iterable[Resource]) -> dict[str, list[Resource]]:
    """The resources of each group, in discovery order."""
    found: dict[str, list[Resource]] = {}
    for resource in resources:
        found.setdefault(resource.group, []).append(resource)
    return {group: found[group] for group in group_names(r for listed in found.values() for r in listed[:1])}


# --- plain -----------------------------------------------------------------------------------------------------------------------


def api_versions(address: str) -> Obj:
    """GET /api: the core group's versions. `address` is host:port of this server."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def _group(resources: list[Resource], group: str) -> Obj:
    versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in version_names(resources, group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def api_group_list(resources: Iterable[Resource]) -> Obj:
    """GET /apis: an APIGroupList of all named groups."""
    by_group = _by_group(resources)
    groups = [_group(listed, g) for g, listed in by_group.items() if g]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(resources: Iterable[Resource], group: str) -> Obj:
    """GET /apis/<group>: one APIGroup. The group must be served."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(list(resources), group)}


def api_resource_list(resources: Iterable[Resource], group: str, version: str) -> Obj:
    """GET /api/v1 or /apis/<group>/<version>: an APIResourceList, subresources after their parents."""
    rows: list[Obj] = []
    for resource in _of(resources, group, version):
        rows.append(_plain(resource))
        rows += [_plain_subresource(resource, sub) for sub in _subresources(resource)]
    head: Obj = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": rows}


def _of(resources: Iterable[Resource], group: str, version: str) -> list[Resource]:
    return sorted((r for r in resources if r.group == group and r.version == version), key=lambda r: r.plural)


def _subresources(r: Resource) -> list[Subresource]:
    """By name; those of custom resources in the order in which definitions have them."""
    return list(r.subresources.values()) if r.verbs == CUSTOM_VERBS else [sub for _, sub in sorted(r.subresources.items())]


def _plain(r: Resource) -> Obj:
    out: Obj = {
        "name": r.plural,
        "singularName": r.singular,
        "namespaced": r.namespaced,
        "kind": r.kind,
        "verbs": list(r.verbs) if r.verbs == CUSTOM_VERBS else sorted(r.verbs),
    }
    if r.short_names:
        out["shortNames"] = list(r.short_names)
    if r.categories:
        out["categories"] = list(r.categories)
    if is_stored(r):
        out["storageVersionHash"] = storage_version_hash(r)
    return out


def _plain_subresource(parent: Resource, sub: Subresource) -> Obj:
    out: Obj = {"name": f"{parent.plural}/{sub.name}", "singularName": "", "namespaced": parent.namespaced}
    if (sub.group, sub.version) != (parent.group, parent.version):
        out |= {"group": sub.group, "version": sub.version}
    return out | {"kind": sub.kind, "verbs": sorted(sub.verbs)}


def is_stored(r: Resource) -> bool:
    """Whether objects of the resource are kept (reviews, bindings and component statuses are not)."""
    return "create" in r.verbs and "get" in r.verbs


def storage_version_hash(r: Resource) -> str:
    """An opaque token that changes when a resource begins to be stored as another version."""
    group, version = r.storage
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{r.kind}".encode()).digest()[:8]).decode()


# --- aggregated --------------------------------------------------------------------------------------------------------------------


def aggregated(resources: Iterable[Resource], core: bool) -> Obj:
    """GET /api (core) or /apis in the aggregated form: an APIGroupDiscoveryList."""
    items = [_aggregated_group(listed, g) for g, listed in _by_group(resources).items() if (g == "") is core]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_group(resources: list[Resource], group: str) -> Obj:
    versions = [_aggregated_version(resources, group, v) for v in version_names(resources, group)]
    return {"metadata": {"name": group} if group else {}, "versions": versions}


def _aggregated_version(resources: list[Resource], group: str, version: str) -> Obj:
    found = [_discovered(r) for r in _of(resources, group, version)]
    return {"version": version, "resources": found, "freshness": "Current"}


def _discovered(r: Resource) -> Obj:
    out: Obj = {
        "resource": r.plural,
        "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
        "scope": "Namespaced" if r.namespaced else "Cluster",
        "singularResource": r.singular,
        "verbs": sorted(r.verbs),
    }
    if r.short_names:
        out["shortNames"] = list(r.short_names)
    if r.categories:
        out["categories"] = list(r.categories)
    if r.subresources:
        out["subresources"] = [_discovered_subresource(sub) for sub in _subresources(r)]
    return out


def _discovered_subresource(sub: Subresource) -> Obj:
    kind = {"group": sub.group, "version": sub.version, "kind": sub.kind}
    return {"subresource": sub.name, "responseKind": kind, "verbs": sorted(sub.verbs)}
