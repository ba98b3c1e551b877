"""A cluster made of objects, wherever they come from: lists of a live API server, or dumps of `kubectl get -o yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pilothouse.api import tables
from pilothouse.scheduler.feeds import PATHS
from pilothouse.scheduler.framework import ClusterView
from pilothouse.scheduler.owners import OWNERS, owner_selectors
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.schedule import Snapshot
from pilothouse.scheduler.stock import Stock
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]
#: Objects by (namespace, name), by their resource's plural.
Collections = dict[str, dict[tuple[str, str], Obj]]

_FINISHED = ("Succeeded", "Failed")


@cache
def _plurals() -> dict[tuple[str, str], str]:
    """(group, kind) -> plural of everything that is stored."""
    return {(r.group, r.kind): r.plural for r in tables.RESOURCES if r.prefix}


def plural_of(obj: Obj) -> str:
    """The plural of an object's resource; "" for a kind that plays no part."""
    group, _, _ = str(obj.get("apiVersion", "")).rpartition("/")
    return _plurals().get((group, str(obj.get("kind", ""))), "")


def flattened(documents: Iterable[Any]) -> Iterator[Obj]:
    """The objects of documents, lists taken apart. ValueError for what is no object."""
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise ValueError("expected Kubernetes objects: a mapping with apiVersion, kind and metadata")
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            kind = document["kind"].removesuffix("List")
            head = {"apiVersion": document.get("apiVersion", "v1"), "kind": kind}
            yield from flattened(item if "kind" in item else {**head, **item} for item in document["items"])
            continue
        if not isinstance((document.get("metadata") or {}).get("name"), str):
            raise ValueError(f"a {document['kind']} without metadata.name")
        yield document


def collected(objects: Iterable[Obj]) -> Collections:
    """Objects by plural; later ones take the place of earlier ones."""
    out: Collections = {}
    for obj in objects:
        meta = obj["metadata"]
        out.setdefault(plural_of(obj), {})[meta.get("namespace", ""), meta["name"]] = obj
    return out


@dataclass(slots=True)
class Situation:
    """What decisions are made on, and the pods that wait for one."""

    snapshot: Snapshot
    waiting: list[PodInfo]
    collections: Collections


def situation(objects: Iterable[Obj]) -> Situation:
    """The cluster that these objects are."""
    known = collected(objects)
    table = NodeTable()
    for node in known.get("nodes", {}).values():
        table.set_node(node)
    waiting = []
    for pod in known.get("pods", {}).values():
        if (pod.get("status") or {}).get("phase") in _FINISHED:
            continue
        info = pod_info(pod)
        if info.node_name:
            table.add_pod(info, info.node_name)
        elif not info.terminating:
            waiting.append(info)
    return Situation(Snapshot(table, view_of(known)), waiting, known)


def view_of(known: Collections) -> ClusterView:
    """What plugins look up, from collections."""

    def of_namespace(plural: str, namespace: str) -> list[Obj]:
        return [o for (ns, _), o in known.get(plural, {}).items() if ns == namespace]

    def labels(namespace: str) -> dict[str, str]:
        found = known.get("namespaces", {}).get(("", namespace))
        return (found["metadata"].get("labels") or {}) if found else {"kubernetes.io/metadata.name": namespace}

    def owner(kind: str, namespace: str, name: str) -> Obj | None:
        path = OWNERS.get(kind)
        return known.get(path.rpartition("/")[2], {}).get((namespace, name)) if path else None

    return ClusterView(
        owner_selectors=lambda pod: owner_selectors(pod, of_namespace("services", pod.namespace), owner),
        namespace_labels=labels,
        budgets=lambda namespace: of_namespace("poddisruptionbudgets", namespace),
        stock=Stock({plural: known.get(plural, {}).values() for plural in PATHS}),
    )
