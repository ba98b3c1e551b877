"""What the server serves, for the controllers that treat all kinds alike: every resource in its preferred version.

Two requests (aggregated discovery, KEP-3352) instead of one per group and version. A group whose server is not to be reached is
told apart from one that serves nothing, because its objects may well exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Api

_ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class Served:
    """A resource and what may be done with it."""

    kind: Kind
    verbs: frozenset[str]
    has_scale: bool = False


@dataclass(frozen=True, slots=True)
class Discovered:
    resources: tuple[Served, ...] = ()
    #: Groups and versions whose servers did not answer.
    failed: tuple[str, ...] = field(default=())

    def with_verbs(self, *verbs: str) -> Iterable[Served]:
        return (r for r in self.resources if r.verbs.issuperset(verbs))


async def discover(api: Api) -> Discovered:
    """Ask what is served now."""
    resources: list[Served] = []
    failed: list[str] = []
    for path in ("/api", "/apis"):
        answer = await api.read(path, accept=_ACCEPT)
        for group in answer.get("items") or ():
            _read_group(group, resources, failed)
    return Discovered(tuple(resources), tuple(failed))


async def resource_of(api: Api, group: str, kind: str) -> Served | None:
    """The resource of a kind in its group's preferred version; None if nothing serves it."""
    found = await discover(api)
    return next((r for r in found.resources if r.kind.group == group and r.kind.kind == kind), None)


def _read_group(group: dict[str, Any], resources: list[Served], failed: list[str]) -> None:
    """Versions come in order of preference: of a resource served in several, the first one counts."""
    name = (group.get("metadata") or {}).get("name") or ""
    seen: set[str] = set()
    for version in group.get("versions") or ():
        label = f"{name}/{version['version']}" if name else version["version"]
        if version.get("freshness") == "Stale":
            failed.append(label)
        for each in version.get("resources") or ():
            if each["resource"] not in seen:
                seen.add(each["resource"])
                resources.append(_served(name, version["version"], each))


def _served(group: str, version: str, each: dict[str, Any]) -> Served:
    kind = (each.get("responseKind") or {}).get("kind") or ""
    namespaced = each.get("scope") == "Namespaced"
    scaled = any(s.get("subresource") == "scale" for s in each.get("subresources") or ())
    return Served(Kind(group, version, each["resource"], kind, namespaced), frozenset(each.get("verbs") or ()), scaled)
