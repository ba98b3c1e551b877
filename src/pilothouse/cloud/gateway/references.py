"""References between objects: what they point at, and whether a ReferenceGrant permits it (API reference: ReferenceGrant; GEP-709)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pilothouse.client.reconcile.kinds import Kind

Obj = dict[str, Any]


class Lookup(Protocol):
    """What decisions may ask of the cluster. Objects are shared: nobody changes them."""

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None: ...

    def grants(self, namespace: str) -> Iterable[Obj]:
        """ReferenceGrants of a namespace."""
        ...

    def policies(self, namespace: str, service: str) -> Iterable[Obj]:
        """BackendTLSPolicies that name this Service."""
        ...


@dataclass(frozen=True, slots=True)
class Referrer:
    """Who refers: the group and kind of the object, and its namespace."""

    group: str
    kind: str
    namespace: str


def namespace_of(ref: Obj, own: str) -> str:
    return ref.get("namespace") or own


def is_kind(ref: Obj, group: str, kind: str, default_kind: str = "") -> bool:
    """Whether a reference is to this kind of object; group and kind may be left to their defaults."""
    return (ref.get("group") or "") == group and (ref.get("kind") or default_kind) == kind


def permitted(lookup: Lookup, referrer: Referrer, group: str, kind: str, namespace: str, name: str) -> bool:
    """Whether this object may be referred to: it is in the referrer's namespace, or a grant beside it says so."""
    if namespace == referrer.namespace:
        return True
    return any(_grants(grant["spec"], referrer, group, kind, name) for grant in lookup.grants(namespace))


def _grants(spec: Obj, referrer: Referrer, group: str, kind: str, name: str) -> bool:
    trusted = any(Referrer(f["group"], f["kind"], f["namespace"]) == referrer for f in spec["from"])
    return trusted and any(t["group"] == group and t["kind"] == kind and t.get("name") in (None, "", name) for t in spec["to"])
