"""What-if questions: where pods would go, and that nothing is different afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from test_schedule import PROFILE, node, pod

from pilothouse.scheduler.insight.situation import Situation, flattened, situation
from pilothouse.scheduler.insight.text import report_text
from pilothouse.scheduler.insight.whatif import Question, Report, answer, report_object

Obj = dict[str, Any]


def cluster(*objects: Obj) -> Situation:
    kinds = {True: "Node", False: "Pod"}
    return situation({"apiVersion": "v1", "kind": kinds["status" in o and "allocatable" in o["status"]], **o} for o in objects)


def on(obj: Obj, where: str, controller: str = "ReplicaSet") -> Obj:
    owners = [{"kind": controller, "name": "o", "controller": True}] if controller else []
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": owners}, "spec": {**obj["spec"], "nodeName": where}}


def tried(base: Situation, *objects: Obj, **more: Any) -> Report:
    """The answer; the node table is looked at before and after."""
    before = state(base)
    report = answer(base.snapshot, {PROFILE.name: PROFILE}, Question(objects, **more), base.waiting)
    assert state(base) == before
    return report


def state(base: Situation) -> Obj:
    table = base.snapshot.table
    rows = {row.name: (row.obj, sorted(row.pods), table.requested["cpu"].data[row.index].item()) for row in table.nodes()}
    return {"rows": rows, "pods": {key: row.name for key, row in table.pod_rows.items()}}


def workload(kind: str, version: str = "apps/v1", name: str = "web", cpu: str = "1", **spec: Any) -> Obj:
    labels = {"app": name}
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers, **spec.pop("pod", {})}}
    selector = {} if kind == "Job" else {"selector": {"matchLabels": labels}}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {**selector, "template": template, **spec}}


def nodes_of(report: Report) -> dict[str, str]:
    return {p.pod.partition("/")[2]: p.node for p in report.placements}


def test_a_deployment_stands_for_its_pods() -> None:
    report = tried(cluster(node("a", cpu="2"), node("b", cpu="2")), workload("Deployment", replicas=5))
    assert sorted(nodes_of(report).values()) == ["", "a", "a", "b", "b"]
    assert report_object(report)["summary"] == {"pods": 5, "placed": 4, "withoutNode": 1}
    assert "4 of 5 pods would get a node" in report_text(report_object(report))


def test_other_workloads_do_too() -> None:
    base = cluster(node("a"), node("b", taints=[{"key": "k", "effect": "NoSchedule"}]))
    once = {"restartPolicy": "Never"}
    report = tried(
        base,
        workload("StatefulSet", name="db", replicas=2, serviceName="db"),
        workload("DaemonSet", name="agent"),
        workload("Job", "batch/v1", name="once", parallelism=3, completions=1, pod=once),
        workload("ReplicaSet", name="rs"),
    )
    assert set(nodes_of(report)) == {"db-0", "db-1", "agent-a", "once-0", "rs-0"}
    assert nodes_of(report)["agent-a"] == "a"


def test_claims_of_a_stateful_set_are_there_for_its_pods() -> None:
    storage = "storage.k8s.io/v1"
    late = {"apiVersion": storage, "kind": "StorageClass", "metadata": {"name": "late"}, "provisioner": "example.com/disk",
            "volumeBindingMode": "WaitForFirstConsumer"}  # fmt: skip
    claim = {"metadata": {"name": "data"}, "spec": {"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
                                                    "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    base = cluster(node("a", cpu="2"))
    wanted = workload("StatefulSet", name="db", replicas=3, serviceName="db", volumeClaimTemplates=[claim])
    assert nodes_of(tried(base, wanted, late)) == {"db-0": "a", "db-1": "a", "db-2": ""}
    assert base.snapshot.view.stock.get("persistentvolumeclaims", "default", "data-db-0") is None
    without = tried(base, workload("Deployment", pod={"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "no"}}]}))
    assert 'persistentvolumeclaim "no" not found' in without.placements[0].message


def test_more_nodes_help() -> None:
    report = tried(cluster(node("a", cpu="1")), workload("Deployment", replicas=3), add_nodes=2, like="a")
    assert report.added == ["a-like-1", "a-like-2"] and sorted(nodes_of(report).values()) == ["a", "a-like-1", "a-like-2"]


def test_nodes_can_be_described_as_well() -> None:
    new = {"apiVersion": "v1", "kind": "Node", **node("z", cpu="8")}
    report = tried(cluster(node("a", cpu="1")), new, workload("Deployment", replicas=1, cpu="5"))
    assert report.added == ["z"] and nodes_of(report) == {"web-0": "z"}


def test_pods_of_a_drained_node_go_elsewhere_or_are_lost() -> None:
    base = cluster(
        node("a"), node("b", cpu="1"), on(pod("one", cpu="1"), "a"), on(pod("two", cpu="1"), "a"),
        on(pod("bare", cpu="1"), "a", ""), on(pod("daemon"), "a", "DaemonSet"),
    )  # fmt: skip
    report = tried(base, drain=("a",))
    assert nodes_of(report) == {"one": "b", "two": ""} and report.lost == ["default/bare"]
    assert report.placements[0].before == "a" and "1 node(s) were unschedulable" in report.placements[1].message


def test_an_important_pod_takes_the_place_of_another_that_is_decided_again() -> None:
    base = cluster(node("a", cpu="1"), on(pod("low", cpu="1"), "a"))
    high: Obj = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 100}
    wanted = {"apiVersion": "v1", "kind": "Pod", **pod("vip", cpu="1", priorityClassName="high")}
    report = tried(base, wanted, high)
    assert [(p.pod, p.node, p.victims) for p in report.placements] == [
        ("default/vip", "a", ("default/low",)),
        ("default/low", "", ()),
    ]
    assert report.placements[1].source == "preempted"


def test_waiting_pods_are_decided_when_asked_for() -> None:
    base = cluster(node("a", cpu="1"), pod("waits", cpu="2"))
    assert tried(base).placements == []
    assert nodes_of(tried(base, waiting=True, add_nodes=0)) == {"waits": ""}


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({"drain": ("x",)}, "there is no node x"),
        ({"add_nodes": 1}, "nodes to add need one that they are like"),
        ({"objects": ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}},)}, "spec.containers"),
        ({"objects": (workload("Deployment", "apps/v1beta1"),)}, "no matches for kind 'Deployment' in version 'apps/v1beta1'"),
        ({"objects": (workload("Deployment", pod={"priorityClassName": "no"}),)}, "no PriorityClass with name no was found"),
    ],
)
def test_questions_that_make_no_sense_are_refused_in_one_line(question: Obj, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        answer(cluster(node("a")).snapshot, {PROFILE.name: PROFILE}, Question(**question))
    assert "\n" not in str(refused.value)


def test_dumps_are_lists_within_lists() -> None:
    item = {"metadata": {"name": "n"}}
    dump = {"kind": "List", "apiVersion": "v1", "items": [{"kind": "NodeList", "apiVersion": "v1", "items": [item]}]}
    assert list(flattened([None, dump])) == [{"apiVersion": "v1", "kind": "Node", **item}]
    with pytest.raises(ValueError, match="a Pod without metadata"):
        list(flattened([{"kind": "Pod", "apiVersion": "v1"}]))
