"""Which events can help which refused pods: the queueing hints of plugins, and what of an object's change becomes an event."""

from __future__ import annotations

from typing import Any

import pytest
from world import Obj, claim, node, pod

from pilothouse.scheduler.changes import node_changes
from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.framework import ClusterEvent
from pilothouse.scheduler.podinfo import pod_info

PROFILE = default_config().profiles["default-scheduler"]
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "x"}},
}
REQUIRED = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
    {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}  # fmt: skip


def tainted(name: str, *keys: str) -> Obj:
    return {**node(name), "spec": {"taints": [{"key": k, "effect": "NoSchedule"} for k in keys]}}


def cordoned(name: str) -> Obj:
    return {**node(name), "spec": {"unschedulable": True}}


def asking(cpu: str) -> Obj:
    made = pod("p")
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return made


def on_port(name: str, port: int) -> Obj:
    made = pod(name)
    made["spec"]["containers"][0]["ports"] = [{"containerPort": port, "hostPort": port, "protocol": "TCP"}]
    return made


def labelled(name: str, namespace: str = "default", **labels: str) -> Obj:
    made = pod(name)
    made["metadata"] |= {"labels": labels, "namespace": namespace}
    return made


CASES: list[tuple[str, Obj, str, Any, Any, bool]] = [
    ("NodeAffinity", pod("p", affinity={"nodeAffinity": REQUIRED}), "Node/Add", None, node("a"), False),
    ("NodeAffinity", pod("p", affinity={"nodeAffinity": REQUIRED}), "Node/UpdateLabel", node("a"), node("a", {"disk": "ssd"}), True),
    ("NodeAffinity", pod("p", nodeSelector={"disk": "ssd"}), "Node/UpdateLabel", node("a", {"disk": "ssd"}),
     node("a", {"disk": "ssd", "more": ""}), False),
    ("NodeName", pod("p", nodeName="b"), "Node/Add", None, node("a"), False),
    ("NodeName", pod("p", nodeName="b"), "Node/Add", None, node("b"), True),
    ("NodeUnschedulable", pod("p"), "Node/UpdateTaint", cordoned("a"), node("a"), True),
    ("NodeUnschedulable", pod("p"), "Node/Add", None, cordoned("a"), False),
    ("TaintToleration", pod("p"), "Node/UpdateTaint", tainted("a", "k", "l"), tainted("a", "k"), False),
    ("TaintToleration", pod("p", tolerations=[{"key": "k", "operator": "Exists"}]), "Node/UpdateTaint",
     tainted("a", "k", "l"), tainted("a", "k"), True),
    ("NodePorts", on_port("p", 80), "AssignedPod/Delete", on_port("q", 81), None, False),
    ("NodePorts", on_port("p", 80), "AssignedPod/Delete", on_port("q", 80), None, True),
    ("NodeResourcesFit", asking("4"), "Node/Add", None, node("a", cpu="2"), False),
    ("NodeResourcesFit", asking("4"), "Node/UpdateAllocatable", node("a", cpu="2"), node("a", cpu="3"), True),
    ("NodeResourcesFit", asking("4"), "Node/UpdateAllocatable", node("a"), node("a", memory="64Gi"), False),
    ("NodeDeclaredFeatures", pod("p", hostNetwork=True, hostUsers=False), "Node/Add", None, node("a"), False),
    ("PodTopologySpread", pod("p", topologySpreadConstraints=[SPREAD]), "AssignedPod/Delete", labelled("q", app="x"), None, True),
    ("PodTopologySpread", pod("p", topologySpreadConstraints=[SPREAD]), "AssignedPod/Delete", labelled("q", app="y"), None, False),
    ("PodTopologySpread", pod("p", topologySpreadConstraints=[SPREAD]), "AssignedPod/Delete", labelled("q", "other", app="x"), None, False),
    ("PodTopologySpread", pod("p", topologySpreadConstraints=[SPREAD]), "Node/Add", None, node("a"), False),
    ("PodTopologySpread", pod("p", topologySpreadConstraints=[SPREAD]), "Node/UpdateLabel", node("a"), node("a", {"zone": "1"}), True),
    ("VolumeBinding", pod("p", "c"), "PersistentVolumeClaim/Add", None, claim("other"), False),
    ("VolumeBinding", pod("p", "c"), "PersistentVolumeClaim/Add", None, claim("c"), True),
    ("VolumeRestrictions", pod("p", "c"), "AssignedPod/Delete", pod("q", "c"), None, True),
    ("VolumeRestrictions", pod("p", "c"), "AssignedPod/Delete", pod("q"), None, False),
]  # fmt: skip


@pytest.mark.parametrize(("plugin", "waiting", "event", "old", "new", "helps"), CASES)
def test_an_event_wakes_whom_it_helps(
    plugin: str, waiting: Obj, event: str, old: Obj | None, new: Obj | None, helps: bool
) -> None:
    made = next(p for p in PROFILE.plugins if p.name == plugin)
    happened = ClusterEvent(*event.split("/"))
    assert happened in made.events
    assert made.hint(pod_info(waiting), happened, old, new) is helps


def test_a_heartbeat_is_no_event() -> None:
    beating = node("a")
    beating["status"]["conditions"] = [{"type": "Ready", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
    assert node_changes(node("a"), beating) == []
    declaring = {**node("a"), "status": {**node("a")["status"], "declaredFeatures": ["X"]}}
    assert node_changes(node("a"), declaring) == ["UpdateDeclaredFeature"]
