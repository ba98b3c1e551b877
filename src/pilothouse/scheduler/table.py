"""The node table: one row a node, one NumPy column a fact, kept up to date by deltas.

Labels, taints and images are interned to small integers, so that a rule is evaluated once per distinct value and looked up for
all rows at once. Two stamps a row say when it last changed: `static` (labels, taints, allocatable, images) and `usage` (pods);
what plugins derive from rows is kept in a `RowCache` and repaired only where a stamp has moved on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.scheduler.columns import Column
from pilothouse.scheduler.counters import Label, PodCounters
from pilothouse.scheduler.podinfo import PodInfo, parse_requests
from pilothouse.scheduler.terms import TermIndex

Obj = dict[str, Any]
Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: What of a row changed: what its node is, or the pods on it.
STATIC, USAGE = 1, 2
_BASE = ("cpu", "memory", "ephemeral-storage")


class Row:
    """The Python side of one node: its object and pods."""

    __slots__ = ("images", "index", "name", "obj", "pods", "ports", "taints", "with_volumes")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.obj: Obj = {"metadata": {"name": name}}
        self.pods: dict[str, PodInfo] = {}
        self.ports: dict[tuple[str, str, int], int] = {}
        self.with_volumes: dict[str, PodInfo] = {}  # the pods whose volumes matter
        self.images: dict[str, int] = {}
        self.taints: tuple[tuple[str, str, str], ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        return self.obj["metadata"].get("labels") or {}


def static_facts(obj: Obj) -> tuple[Any, ...]:
    """The parts of a Node that scheduling looks at; a heartbeat changes none of them."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return (
        obj["metadata"].get("labels"),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        status.get("images"),
        status.get("declaredFeatures"),
    )


class NodeTable:
    """Rows by node name, columns by resource. A row without a node object (pods seen first) takes part in nothing."""

    #: Changes remembered at most.
    LOG = 4096

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.stamp = 0
        self._log: list[int] = []  # the row of each stamp after `_log_start`
        self._log_start = 0
        self.rows: list[Row | None] = [None] * capacity
        self.by_name: dict[str, Row] = {}
        self._free = list(range(capacity - 1, -1, -1))
        self._columns: dict[str, Column] = {}
        self.present: Mask = np.zeros(capacity, dtype=np.bool_)
        self.unschedulable: Mask = np.zeros(capacity, dtype=np.bool_)
        self.static = self._column("static")
        self.usage = self._column("usage")
        self.taint_set = self._column("taints")
        self.allowed_pods = self._column("allowed pods")
        self.pod_count = self._column("pods")
        self.allocatable: dict[str, Column] = {r: self._column("a/" + r) for r in _BASE}
        self.requested: dict[str, Column] = {r: self._column("r/" + r) for r in _BASE}
        self.scored: dict[str, Column] = {r: self._column("s/" + r) for r in ("cpu", "memory")}
        self.taint_sets: list[tuple[tuple[str, str, str], ...]] = [()]
        self.taint_effects: set[str] = set()  # that any node has ever had
        self._taint_ids: dict[tuple[tuple[str, str, str], ...], int] = {(): 0}
        self._label_columns: dict[str, Column] = {}
        self._label_values: dict[str, dict[str, int]] = {}
        self._labels_version = 0  # moves when a node's labels may have changed
        self._one_each: dict[str, tuple[int, bool]] = {}
        self.image_nodes: dict[str, set[int]] = {}  # image name -> rows that hold it
        self.image_sizes: dict[str, int] = {}  # in bytes, as the first node told it
        self.images_stamp = 0
        self.terms = TermIndex()
        self.counters = PodCounters()
        self.pod_rows: dict[str, Row] = {}  # pod key -> row
        self.claim_rows: dict[tuple[str, str], Counter[int]] = {}  # namespace and name of a claim -> row -> pods that use it
        self._priorities: Counter[int] = Counter()  # pods on nodes by priority
        self._names: list[str] | None = None
        self._nodes: int | None = 0
        self._asked = (-1, -1)
        self._answer: dict[int, int] | None = None

    def _column(self, name: str, fill: int = 0) -> Column:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = Column(self.capacity, fill)
        return column

    def _touch(self, index: int, *columns: Column) -> None:
        """A row changed: the next stamp is its own."""
        self.stamp += 1
        for column in columns:
            column.data[index] = self.stamp
        self._log.append(index << 2 | (STATIC if self.static in columns else 0) | (USAGE if self.usage in columns else 0))
        if len(self._log) > self.LOG:
            self._log_start += self.LOG // 2
            del self._log[: self.LOG // 2]

    def changed_since(self, stamp: int) -> dict[int, int] | None:
        """The rows that changed after a stamp, with what of them (STATIC, USAGE); None when they are too many to be worth naming."""
        if self._asked == (stamp, self.stamp):  # by all that is derived for one decision
            return self._answer
        first = stamp - self._log_start
        named: dict[int, int] | None = None
        if first >= 0 and len(self._log) - first < self.capacity // 8:
            named = {}
            for entry in self._log[first:]:
                named[entry >> 2] = named.get(entry >> 2, 0) | entry & 3
        self._asked, self._answer = (stamp, self.stamp), named
        return named

    # --- nodes ---------------------------------------------------------------------------------------------------------------

    def set_node(self, obj: Obj) -> Row:
        """Add a node or take in its new state."""
        name = obj["metadata"]["name"]
        row = self.by_name.get(name) or self._new_row(name)
        previous = row.obj if self.present[row.index] else None
        row.obj = obj
        if previous is None or static_facts(previous) != static_facts(obj):
            self._write_static(row)
        return row

    def remove_node(self, name: str) -> None:
        """Forget a node. Its row stays as long as pods are still known on it."""
        row = self.by_name.get(name)
        if row is None:
            return
        self._set_images(row, {})
        row.obj = {"metadata": {"name": name}}
        self._labels_version += 1
        for column in self._label_columns.values():
            column.data[row.index] = -1
        self.present[row.index] = False
        self._nodes = None
        self._touch(row.index, self.static)
        if not row.pods:
            self._release(row)

    def _new_row(self, name: str) -> Row:
        if not self._free:
            self._grow()
        self._names = None
        row = Row(self._free.pop(), name)
        self.rows[row.index] = row
        self.by_name[name] = row
        return row

    def _release(self, row: Row) -> None:
        self._names = None
        del self.by_name[row.name]
        self.rows[row.index] = None
        for column in self._columns.values():
            column.data[row.index] = 0
        self._labels_version += 1
        for column in self._label_columns.values():
            column.data[row.index] = -1
        self._touch(row.index, self.static, self.usage)
        self._free.append(row.index)

    def _grow(self) -> None:
        old, self.capacity = self.capacity, self.capacity * 2
        for column in self._columns.values():
            column.grow(self.capacity)
        for column in self._label_columns.values():
            column.grow(self.capacity, -1)
        self.terms.grow(self.capacity)
        self.counters.grow(self.capacity)
        self.present = np.concatenate([self.present, np.zeros(old, dtype=np.bool_)])
        self.unschedulable = np.concatenate([self.unschedulable, np.zeros(old, dtype=np.bool_)])
        self.rows.extend([None] * old)
        self._free.extend(range(self.capacity - 1, old - 1, -1))

    def _write_static(self, row: Row) -> None:
        i, spec = row.index, row.obj.get("spec") or {}
        status = row.obj.get("status") or {}
        taints = tuple((t["key"], t.get("value") or "", t["effect"]) for t in spec.get("taints") or ())
        row.taints = taints
        allocatable = parse_requests(status.get("allocatable"))
        for name in [*allocatable, *self.allocatable]:
            if name != "pods":
                column = self.resource_column(name)
                column.data[i] = allocatable.get(name, 0)
        self.allowed_pods.data[i] = allocatable.get("pods", 0)
        self.taint_set.data[i] = self._intern_taints(taints)
        self.unschedulable[i] = bool(spec.get("unschedulable"))
        self.present[i] = True
        self._nodes = None
        self._set_images(row, {n: im.get("sizeBytes") or 0 for im in status.get("images") or () for n in im.get("names") or ()})
        self._labels_version += 1
        for key, column in self._label_columns.items():
            column.data[i] = self._intern_label(key, row.labels.get(key))
        self._touch(i, self.static)

    def resource_column(self, resource: str) -> Column:
        """The allocatable column of any resource, made on first use."""
        column = self.allocatable.get(resource)
        if column is None:
            column = self.allocatable[resource] = self._column("a/" + resource)
            self.requested[resource] = self._column("r/" + resource)
        return column

    def _intern_taints(self, taints: tuple[tuple[str, str, str], ...]) -> int:
        found = self._taint_ids.get(taints)
        if found is None:
            found = self._taint_ids[taints] = len(self.taint_sets)
            self.taint_sets.append(taints)
            self.taint_effects.update(effect for _, _, effect in taints)
        return found

    def _set_images(self, row: Row, images: dict[str, int]) -> None:
        if images == row.images:
            return
        for name in row.images:
            self.image_nodes[name].discard(row.index)
            if not self.image_nodes[name]:
                del self.image_nodes[name], self.image_sizes[name]
        for name, size in images.items():
            self.image_nodes.setdefault(name, set()).add(row.index)
            self.image_sizes.setdefault(name, size)
        row.images = images
        self.images_stamp += 1

    # --- labels and domains ----------------------------------------------------------------------------------------------------

    def label_column(self, key: str) -> Ints:
        """Interned values of one label key, -1 where a node lacks it."""
        column = self._label_columns.get(key)
        if column is None:
            column = self._label_columns[key] = Column(self.capacity, -1)
            self._label_values[key] = {}
            for row in self.by_name.values():
                column.data[row.index] = self._intern_label(key, row.labels.get(key))
        return column.data

    def label_id(self, key: str, value: str) -> int:
        """The interned id of a label's value; -2 if no node has ever had it."""
        self.label_column(key)
        return self._label_values[key].get(value, -2)

    def label_values(self, key: str) -> dict[str, int]:
        """The values that nodes have (or had) of a label, with their interned ids."""
        self.label_column(key)
        return self._label_values[key]

    def one_each(self, key: str) -> bool:
        """Whether no two nodes share a value of a label key, as it should be with host names."""
        known = self._one_each.get(key)
        if known is None or known[0] != self._labels_version:
            column = self.label_column(key)
            alone = bool(np.bincount(column[column >= 0], minlength=1).max() <= 1)
            known = self._one_each[key] = (self._labels_version, alone)
        return known[1]

    def domain_count(self, key: str) -> int:
        """An upper bound of the interned ids of a label key."""
        self.label_column(key)
        return len(self._label_values[key])

    def _intern_label(self, key: str, value: str | None) -> int:
        if value is None:
            return -1
        values = self._label_values[key]
        return values.setdefault(value, len(values))

    # --- pods ------------------------------------------------------------------------------------------------------------------

    def add_pod(self, pod: PodInfo, node_name: str) -> None:
        """Count a pod on its node (assumed or bound). A pod known there already is replaced."""
        known = self.pod_rows.get(pod.key)
        if known is not None:
            self.remove_pod(pod.key)
        row = self.by_name.get(node_name) or self._new_row(node_name)
        row.pods[pod.key] = pod
        self.pod_rows[pod.key] = row
        self._account(row, pod, 1)

    def remove_pod(self, key: str) -> PodInfo | None:
        """Stop counting a pod. None if it was not counted."""
        row = self.pod_rows.pop(key, None)
        if row is None:
            return None
        pod = row.pods.pop(key)
        self._account(row, pod, -1)
        if not row.pods and not self.present[row.index]:
            self._release(row)
        return pod

    def _account(self, row: Row, pod: PodInfo, sign: int) -> None:
        i = row.index
        for name, value in pod.requests.items():
            if name not in self.requested:
                self.resource_column(name)
            self.requested[name].data[i] += sign * value
        self.scored["cpu"].data[i] += sign * pod.scored.get("cpu", 0)
        self.scored["memory"].data[i] += sign * pod.scored.get("memory", 0)
        self.pod_count.data[i] += sign
        self._priorities[pod.priority] += sign
        if not self._priorities[pod.priority]:
            del self._priorities[pod.priority]
        for port in pod.ports:
            row.ports[port] = row.ports.get(port, 0) + sign
            if not row.ports[port]:
                del row.ports[port]
        self.counters.account(i, pod, sign)
        if pod.terms is not None:
            self.terms.count(i, pod.terms, sign, self.capacity)
        if pod.volumes is not None:
            self._account_volumes(row, pod, sign)
        self._touch(i, self.usage)

    def _account_volumes(self, row: Row, pod: PodInfo, sign: int) -> None:
        assert pod.volumes is not None
        if sign > 0:
            row.with_volumes[pod.key] = pod
        else:
            del row.with_volumes[pod.key]
        for claim in pod.volumes.claims:
            users = self.claim_rows.setdefault((pod.namespace, claim.name), Counter())
            users[row.index] += sign
            if not users[row.index]:
                del users[row.index]
            if not users:
                del self.claim_rows[pod.namespace, claim.name]

    def counter(
        self, key: Hashable, namespaces: frozenset[str] | None, labels: Iterable[Label], wants: Callable[[PodInfo], bool]
    ) -> Ints:
        """Per row, how many pods of these namespaces (None: of any) are wanted. Counted once, then kept by deltas.

        `labels` are some that all wanted pods have.
        """
        found = self.counters.get(key) or self.counters.make(key, namespaces, labels, wants, self.capacity, self._everybody)
        return found.counts.data

    def _everybody(self) -> Iterator[tuple[int, PodInfo]]:
        return ((row.index, pod) for row in self.by_name.values() for pod in row.pods.values())

    def with_lower_priority(self, priority: int, among: Mask) -> Mask:
        """The rows of `among` that have a pod of lower priority. Costs next to nothing where no such pod exists at all."""
        out: Mask = np.zeros(self.capacity, dtype=np.bool_)
        if min(self._priorities, default=priority) >= priority:
            return out
        for i in np.flatnonzero(among):
            row = self.rows[i]
            out[i] = row is not None and any(p.priority < priority for p in row.pods.values())
        return out

    # --- reading ---------------------------------------------------------------------------------------------------------------

    def nodes(self) -> Iterator[Row]:
        """The rows that have a node, in no particular order."""
        return (r for r in self.by_name.values() if self.present[r.index])

    def names(self) -> list[str]:
        """The node of each row, "" where there is none: one list as long as no row comes or goes, which is never changed."""
        if self._names is None:
            self._names = ["" if row is None else row.name for row in self.rows]
        return self._names

    def node_count(self) -> int:
        if self._nodes is None:
            self._nodes = int(np.count_nonzero(self.present))
        return self._nodes


class RowCache:
    """A value per row, computed in bulk on first use and repaired where the watched stamp has moved on.

    `compute(rows)` gives the values of those row indexes; `one`, where it is given, the same of a single one, which is faster for a few.
    The result is a view: read it, do not keep it.
    """

    __slots__ = ("_compute", "_kinds", "_one", "_seen", "values")

    #: Rows that are computed one by one at most.
    FEW = 24

    def __init__(
        self, table: NodeTable, stamp: str, dtype: Any, compute: Callable[[Ints], Any], one: Callable[[int], Any] | None = None
    ) -> None:
        self.values: npt.NDArray[Any] = np.zeros(table.capacity, dtype=dtype)
        self._kinds = {"static": STATIC, "usage": USAGE, "both": STATIC | USAGE}[stamp]
        self._compute = compute
        self._one = one
        self._seen = -1

    def refresh(self, table: NodeTable, besides: Collection[int] | None = ()) -> npt.NDArray[Any]:
        """The up-to-date values of all rows. `besides`: rows to compute anew for another reason (None: all)."""
        if besides is None:
            self._seen = -1
        elif besides and self._seen >= 0:
            others = np.array(sorted(besides), dtype=np.int64)
            self.values[others[others < len(self.values)]] = self._compute(others[others < len(self.values)])
        if table.stamp == self._seen:
            return self.values
        if len(self.values) < table.capacity:
            grown = np.zeros(table.capacity, dtype=self.values.dtype)
            grown[: len(self.values)] = self.values
            self.values = grown
        self._repair(table)
        self._seen = table.stamp
        return self.values

    def _repair(self, table: NodeTable) -> None:
        if self._seen < 0:
            self.values[:] = self._compute(np.arange(table.capacity))
            return
        named = table.changed_since(self._seen)
        if named is None:
            dirty = self._stamped(table)
        else:
            listed = [i for i, kinds in named.items() if kinds & self._kinds]
            if self._one is not None and len(listed) <= self.FEW:
                for i in listed:
                    self.values[i] = self._one(i)
                return
            dirty = np.array(listed, dtype=np.int64)
        if len(dirty):
            self.values[dirty] = self._compute(dirty)

    def _stamped(self, table: NodeTable) -> Ints:
        """The rows whose own stamps have moved on."""
        changed: Mask = np.zeros(table.capacity, dtype=np.bool_)
        for kind, column in ((STATIC, table.static), (USAGE, table.usage)):
            if kind & self._kinds:
                changed |= column.data > self._seen
        return np.flatnonzero(changed)
