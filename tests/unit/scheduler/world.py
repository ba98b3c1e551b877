"""Objects for scheduling tests, as the API would have stored them, and the decision of the default profile about them."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.decision import Decision
from pilothouse.scheduler.framework import ClusterView
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Snapshot, schedule
from pilothouse.scheduler.stock import Stock
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]


def node(name: str, labels: Obj | None = None, **allocatable: str) -> Obj:
    room = {"cpu": "8", "memory": "32Gi", "pods": "110", **allocatable}
    labels = {"kubernetes.io/hostname": name, **(labels or {})}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"allocatable": room}}


def pod(name: str, *claims: str, volumes: list[Obj] | None = None, **spec: Any) -> Obj:
    listed = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims] + (volumes or [])
    return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "schedulerName": "default-scheduler", "volumes": listed, **spec}}  # fmt: skip


def claim(
    name: str, volume: str = "", storage_class: str = "", size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",)
) -> Obj:
    spec: Obj = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, "volumeMode": "Filesystem"}
    meta: Obj = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"}
    if storage_class:
        spec["storageClassName"] = storage_class
    if volume:
        spec["volumeName"] = volume
        meta["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Bound" if volume else "Pending"}}


def volume(
    name: str, size: str = "1Gi", storage_class: str = "", nodes: tuple[str, ...] = (), labels: Obj | None = None, **source: Any
) -> Obj:
    spec: Obj = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "volumeMode": "Filesystem", **source}
    if storage_class:
        spec["storageClassName"] = storage_class
    if nodes:
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    meta = {"name": name, "labels": labels or {}, "resourceVersion": "1"}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Available"}}


def storage_class(name: str, provisioner: str = "kubernetes.io/no-provisioner", wait: bool = True, **more: Any) -> Obj:
    mode = "WaitForFirstConsumer" if wait else "Immediate"
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **more}


class World:
    """Nodes, pods on them, and everything else by plural."""

    def __init__(self, *nodes: Obj, **objects: list[Obj]) -> None:
        self.table = NodeTable(capacity=2)
        for n in nodes:
            self.table.set_node(n)
        self.stock = Stock(objects)
        self.snapshot = Snapshot(self.table, ClusterView(stock=self.stock))
        self.profile = default_config().profiles["default-scheduler"]

    def place(self, obj: Obj, node_name: str) -> None:
        self.table.add_pod(pod_info(obj), node_name)

    def decide(self, obj: Obj) -> Decision:
        return schedule(self.snapshot, pod_info(obj), self.profile)

    def feasible(self, obj: Obj) -> set[str]:
        decision = self.decide(obj)
        return set(decision.totals) or ({decision.node} if decision.node else set())

    def why_not(self, obj: Obj) -> str:
        """The first part of the message: before what preemption says."""
        decision = self.decide(obj)
        assert decision.node is None
        return re.split(r" no new claims to deallocate| still not schedulable", decision.message)[0]
