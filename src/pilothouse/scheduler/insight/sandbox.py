"""Changes to a cluster that leave no trace: every one is undone, in reverse order, when the sandbox is closed.

It works on the scheduler's own node table, because copying that of a big cluster would take longer than the question; so a sandbox
must be closed before the event loop gets another turn. Its snapshot has classes of its own, so that nothing derived from what is only tried
is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pilothouse.scheduler.feeds import PATHS
from pilothouse.scheduler.framework import ClusterView
from pilothouse.scheduler.insight.situation import Collections, view_of
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.schedule import Snapshot

Obj = dict[str, Any]


class Sandbox:
    """Use as a context manager. `more` are objects that exist besides those of the cluster."""

    def __init__(self, base: Snapshot, more: Collections | None = None) -> None:
        self.table = base.table
        self.snapshot = Snapshot(base.table, _over(base.view, more or {}))
        self.snapshot.nominated = dict(base.nominated)
        self._undo: list[Callable[[], object]] = []
        for plural in PATHS:
            for (namespace, name), obj in (more or {}).get(plural, {}).items():
                self._stock(plural, namespace, name, obj)

    def _stock(self, plural: str, namespace: str, name: str, obj: Obj) -> None:
        """One more object to look up; what is there already stays."""
        stock = self.snapshot.view.stock
        if stock.get(plural, namespace, name) is None:
            stock.put(plural, obj)
            self._undo.append(lambda: stock.remove(plural, obj))

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *why: object) -> None:
        while self._undo:
            self._undo.pop()()

    def on_close(self, undo: Callable[[], object]) -> None:
        """Something else that is to be undone."""
        self._undo.append(undo)

    def add_node(self, node: Obj) -> None:
        """A node that is not there yet."""
        name = node["metadata"]["name"]
        self.table.set_node(node)
        self._undo.append(lambda: self.table.remove_node(name))

    def cordon(self, name: str) -> None:
        """Take no more pods on a node (KeyError if there is none)."""
        before = self.table.by_name[name].obj
        self.table.set_node({**before, "spec": {**(before.get("spec") or {}), "unschedulable": True}})
        self._undo.append(lambda: self.table.set_node(before))

    def place(self, pod: PodInfo, node: str) -> None:
        """Count a pod on a node."""
        self.table.add_pod(pod, node)
        self._undo.append(lambda: self.table.remove_pod(pod.key))

    def remove(self, key: str) -> PodInfo | None:
        """Think a pod away. None if it is on no node."""
        row = self.table.pod_rows.get(key)
        if row is None:
            return None
        pod = self.table.remove_pod(key)
        assert pod is not None
        self._undo.append(lambda: self.table.add_pod(pod, row.name))
        return pod


def _over(base: ClusterView, more: Collections) -> ClusterView:
    """The base view with more objects in it."""
    if not any(more.get(plural) for plural in _LOOKED_UP):
        return base
    added = view_of(more)
    named = {name for _, name in more.get("namespaces", {})}
    # What is counted by labels of namespaces is kept by this version: a sandbox with namespaces of its own needs one of its own.
    version = -id(more) if named else None
    return replace(
        base,
        owner_selectors=lambda pod: [*base.owner_selectors(pod), *added.owner_selectors(pod)],
        namespace_labels=lambda name: added.namespace_labels(name) if name in named else base.namespace_labels(name),
        namespaces_version=base.namespaces_version if version is None else lambda: version,
        budgets=lambda namespace: [*base.budgets(namespace), *added.budgets(namespace)],
    )


_LOOKED_UP = ("services", "replicasets", "statefulsets", "replicationcontrollers", "namespaces", "poddisruptionbudgets")
