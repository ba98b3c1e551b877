"""Discovery documents, built from the list of served resources: plain (APIVersions, APIGroupList, APIResourceList) and aggregated."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

from pilothouse.api import tables
from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource, Subresource

_VERSION_PRIORITY = {("autoscaling", "v2"): 30}


def storage_version_hash(resource: Resource) -> str:
    """base64 of the first 8 bytes of sha256(group/version/Kind), of the version that is stored."""
    group, version = resource.storage
    text = f"{group}/{version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def is_stored(resource: Resource) -> bool:
    return "get" in resource.verbs and resource.plural != "componentstatuses"


def groups_of(resources: Iterable[Resource]) -> dict[str, list[str]]:
    """Group to versions, in discovery order."""
    found: dict[str, list[str]] = {}
    for r in resources:
        versions = found.setdefault(r.group, [])
        if r.version not in versions:
            versions.append(r.version)
    order = [g for g, _ in tables.GROUP_PRIORITY if g not in ("", "apiregistration.k8s.io")]
    rank = {g: n for n, g in enumerate(["", "apiregistration.k8s.io", *order])}
    for versions in found.values():
        versions.sort(key=_version_rank, reverse=True)
    return {g: found[g] for g in sorted(found, key=lambda g: (rank.get(g, len(rank)), g))}


def _version_rank(version: str) -> tuple[int, int, int]:
    """GA before beta before alpha, higher numbers first."""
    import re

    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (-1, 0, 0)
    return ({None: 2, "beta": 1, "alpha": 0}[match[2]], int(match[1]), int(match[3] or 0))


def api_versions(address: str) -> Obj:
    """/api"""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]}


def _group(name: str, versions: Sequence[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def api_group(resources: Iterable[Resource], name: str) -> Obj | None:
    """/apis/<group>, or None."""
    versions = groups_of(resources).get(name)
    return None if not versions or not name else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def group_list(resources: Iterable[Resource]) -> Obj:
    """/apis"""
    groups = [_group(name, versions) for name, versions in groups_of(resources).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resource_list(resources: Iterable[Resource], group: str, version: str) -> Obj | None:
    """/api/v1 and /apis/<group>/<version>, or None."""
    own = [r for r in resources if (r.group, r.version) == (group, version)]
    if not own:
        return None
    rows = [row for r in sorted(own, key=lambda r: r.plural) for row in _resource_rows(r)]
    group_version = f"{group}/{version}" if group else version
    head: Obj = {"kind": "APIResourceList"} if not group else {"kind": "APIResourceList", "apiVersion": "v1"}
    return {**head, "groupVersion": group_version, "resources": rows}


def _resource_rows(r: Resource) -> list[Obj]:
    row: Obj = {"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": sorted(r.verbs)}
    if r.short_names:
        row["shortNames"] = list(r.short_names)
    if r.categories:
        row["categories"] = list(r.categories)
    if is_stored(r):
        row["storageVersionHash"] = storage_version_hash(r)
    return [row, *(_subresource_row(r, s) for _, s in sorted(r.subresources.items()))]


def _subresource_row(r: Resource, s: Subresource) -> Obj:
    row: Obj = {"name": f"{r.plural}/{s.name}", "singularName": "", "namespaced": r.namespaced}
    if (s.group, s.version) != (r.group, r.version):
        row |= {"group": s.group, "version": s.version} if s.group else {"version": s.version}
    return {**row, "kind": s.kind, "verbs": sorted(s.verbs)}


def aggregated_core(resources: Iterable[Resource]) -> Obj:
    """APIGroupDiscoveryList of /api"""
    return _aggregated(resources, core=True)


def aggregated_groups(resources: Iterable[Resource]) -> Obj:
    """APIGroupDiscoveryList of /apis"""
    return _aggregated(resources, core=False)


def _aggregated(resources: Iterable[Resource], core: bool) -> Obj:
    listed = list(resources)
    items = []
    for name, versions in groups_of(listed).items():
        if (name == "") is not core:
            continue
        items.append({"metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
                      "versions": [_discovered_version(listed, name, v) for v in versions]})  # fmt: skip
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _discovered_version(resources: list[Resource], group: str, version: str) -> Obj:
    own = sorted((r for r in resources if (r.group, r.version) == (group, version)), key=lambda r: r.plural)
    return {"version": version, "resources": [_discovered(r) for r in own], "freshness": "Current"}


def _discovered(r: Resource) -> Obj:
    row: Obj = {
        "resource": r.plural,
        "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
        "scope": "Namespaced" if r.namespaced else "Cluster",
        "singularResource": r.singular,
        "verbs": sorted(r.verbs),
    }
    if r.short_names:
        row["shortNames"] = list(r.short_names)
    if r.categories:
        row["categories"] = list(r.categories)
    if r.subresources:
        row["subresources"] = [
            {"subresource": s.name, "responseKind": {"group": s.group, "version": s.version, "kind": s.kind}, "verbs": sorted(s.verbs)}
            for _, s in sorted(r.subresources.items())
        ]
    return row
