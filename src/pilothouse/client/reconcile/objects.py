"""Small questions that controllers ask about any object: whose it is, what it is called, which labels it has.

Objects are the plain dicts of the informers and therefore shared: nothing here changes its argument. Functions that make a
changed object copy exactly the levels that they change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.clock import parse_rfc3339

Obj = dict[str, Any]


def uid(obj: Obj) -> str:
    return obj["metadata"]["uid"]


def key(obj: Obj) -> str:
    """`namespace/name`, or the bare name of a cluster-scoped object: what work queues hold."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else meta["name"]


def split_key(text: str) -> tuple[str, str]:
    """The namespace ("" for cluster-scoped) and the name of a key."""
    namespace, _, name = text.rpartition("/")
    return namespace, name


def labels_of(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def is_deleting(obj: Obj) -> bool:
    return obj["metadata"].get("deletionTimestamp") is not None


def created_at(obj: Obj) -> float:
    """Seconds since the epoch, 0 where the server has not said."""
    stamp = obj["metadata"].get("creationTimestamp")
    return parse_rfc3339(stamp) if stamp else 0.0


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference that is the controller, if any."""
    for ref in obj["metadata"].get("ownerReferences") or ():
        if ref.get("controller"):
            return ref
    return None


def controller_uid(obj: Obj) -> str:
    """The uid of the controlling owner, or ""."""
    ref = controller_of(obj)
    return ref["uid"] if ref else ""


def controller_reference(owner: Obj, api_version: str, kind: str) -> Obj:
    """What makes `owner` the controller of an object that bears it."""
    meta = owner["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def changed(obj: Obj, **members: Any) -> Obj:
    """The object with these top-level members in place of its own; a member that is None is left out."""
    out = {**obj, **members}
    return {k: v for k, v in out.items() if v is not None}


def with_metadata(obj: Obj, **members: Any) -> Obj:
    """The object with these members of its metadata in place of its own; a member that is None is left out."""
    return changed(obj, metadata=changed(obj["metadata"], **members))


def pod_ranges(node: Obj) -> list[str]:
    """The ranges of a node's pods, none or one of each family."""
    spec = node["spec"]
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def condition(obj: Obj, kind: str) -> Obj | None:
    """A condition of the object's status by its type."""
    return find_condition((obj.get("status") or {}).get("conditions"), kind)


def find_condition(conditions: Iterable[Obj] | None, kind: str) -> Obj | None:
    for each in conditions or ():
        if each["type"] == kind:
            return each
    return None


def without_condition(conditions: Iterable[Obj], kind: str) -> list[Obj]:
    return [c for c in conditions if c["type"] != kind]


def without_empty(members: Obj) -> Obj:
    """Without the members that Go's `omitempty` would leave out: what an object says is then the same as what is stored."""
    return {k: v for k, v in members.items() if v}
