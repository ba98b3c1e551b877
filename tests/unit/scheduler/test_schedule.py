"""Decisions of the pure heart, through its public door."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pilothouse.scheduler.config import ConfigError, default_config, parse_config
from pilothouse.scheduler.decision import Decision
from pilothouse.scheduler.framework import ClusterView
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Snapshot, schedule
from pilothouse.scheduler.table import NodeTable

Obj = dict[str, Any]
PROFILE = default_config().profiles["default-scheduler"]


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "10", labels: Obj | None = None, **spec: Any) -> Obj:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}, "spec": spec,
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}}}  # fmt: skip


def pod(name: str, cpu: str = "", labels: Obj | None = None, **spec: Any) -> Obj:
    requests = {"requests": {"cpu": cpu}} if cpu else {}
    containers = [{"name": "c", "image": "i", "resources": requests}]
    return {"metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels or {}},
            "spec": {"containers": containers, "schedulerName": "default-scheduler", **spec}}  # fmt: skip


def table_of(*nodes: Obj) -> NodeTable:
    table = NodeTable(capacity=2)
    for n in nodes:
        table.set_node(n)
    return table


def decide(table: NodeTable, obj: Obj) -> Decision:
    return schedule(Snapshot(table), pod_info(obj), PROFILE)


def test_the_emptier_node_wins() -> None:
    table = table_of(node("a"), node("b"))
    table.add_pod(pod_info(pod("x", cpu="3")), "a")
    assert decide(table, pod("p", cpu="500m")).node == "b"


def test_a_full_cluster_is_told_by_reason() -> None:
    table = table_of(node("a", cpu="1"), node("b", pods="0"), node("c", unschedulable=True))
    decision = decide(table, pod("p", cpu="2"))
    assert decision.node is None and decision.reason == "Unschedulable"
    told = decision.message.partition(" no new claims to deallocate, preemption: ")
    assert told[0] == "0/3 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) were unschedulable."
    assert "2 Preemption is not helpful for scheduling" in told[2] and "1 No preemption victims found" in told[2]


def test_taints_keep_out_all_but_those_who_tolerate_them() -> None:
    table = table_of(node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]))
    assert decide(table, pod("p")).message.startswith("0/1 nodes are available: 1 node(s) had untolerated taint(s).")
    assert decide(table, pod("q", tolerations=[{"key": "k", "operator": "Exists"}])).node == "a"


def test_a_node_selector_is_followed_and_follows_label_changes() -> None:
    table = table_of(node("a"), node("b", labels={"disk": "ssd"}))
    assert decide(table, pod("p", nodeSelector={"disk": "ssd"})).node == "b"
    table.set_node(node("b"))
    assert "node affinity/selector" in decide(table, pod("p", nodeSelector={"disk": "ssd"})).message


def test_gated_pods_are_not_looked_at() -> None:
    decision = decide(table_of(node("a")), pod("p", schedulingGates=[{"name": "g"}]))
    assert (decision.reason, decision.message) == ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")


def test_required_spread_keeps_the_skew() -> None:
    table = table_of(node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"}))
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "x"}},
        }
    ]
    table.add_pod(pod_info(pod("one", labels={"app": "x"})), "a")
    assert decide(table, pod("two", labels={"app": "x"}, topologySpreadConstraints=spread)).node == "b"


def test_host_ports_clash_only_on_one_node() -> None:
    table = table_of(node("a"), node("b"))
    ports = pod("p")
    ports["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    first = decide(table, ports).node
    assert first is not None
    table.add_pod(pod_info(ports), first)
    other = {**ports, "metadata": {**ports["metadata"], "name": "q", "uid": "q"}}
    assert decide(table, other).node not in (None, first)


def test_removing_a_pod_gives_its_room_back() -> None:
    table = table_of(node("a", cpu="1"))
    table.add_pod(pod_info(pod("x", cpu="1")), "a")
    assert decide(table, pod("p", cpu="1")).node is None
    table.remove_pod("default/x")
    assert decide(table, pod("p", cpu="1")).node == "a"


def test_configuration_files_are_read() -> None:
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [
        {"schedulerName": "mine", "plugins": {"score": {"disabled": [{"name": "ImageLocality"}]}, "multiPoint": {"enabled": [
            {"name": "NodeAffinity", "weight": 7}]}}}]}  # fmt: skip
    profile = parse_config(document).profiles["mine"]
    assert profile.weights["NodeAffinity"] == 7 and "ImageLocality" not in [p.name for p in profile.scores]
    with pytest.raises(ConfigError, match="unknown plugin"):
        parse_config({**document, "profiles": [{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}]})


def test_the_least_important_pod_makes_room() -> None:
    table = table_of(node("a", cpu="2"), node("b", cpu="2"))
    table.add_pod(pod_info(pod("mid", cpu="2", priority=5)), "a")
    table.add_pod(pod_info(pod("low", cpu="2", priority=1)), "b")
    decision = decide(table, pod("p", cpu="1", priority=10))
    assert (decision.nominated, decision.victims) == ("b", ("default/low",))


def test_a_pod_that_repels_its_like_keeps_them_off_its_domain() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    table = table_of(node("a", labels={"zone": "1"}), node("b", labels={"zone": "1"}), node("c", labels={"zone": "2"}))
    table.add_pod(pod_info(pod("first", affinity=apart)), "a")
    assert decide(table, pod("second", labels={"app": "x"})).node == "c"
    table.remove_pod("default/first")
    assert set(decide(table, pod("third", labels={"app": "x"})).totals) == {"a", "b", "c"}


def test_room_kept_for_a_nominated_pod_is_free_only_for_more_important_ones() -> None:
    snapshot = Snapshot(table_of(node("a", cpu="2")))
    snapshot.nominated["default/n"] = pod_info(pod("n", cpu="2", priority=5)), "a"
    low = schedule(snapshot, pod_info(pod("low", cpu="1", priority=1)), PROFILE)
    assert low.node is None and low.message.startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert schedule(snapshot, pod_info(pod("high", cpu="1", priority=9)), PROFILE).node == "a"
    assert "default/n" not in snapshot.table.pod_rows


def test_no_pod_makes_room_on_a_node_that_lacks_a_label_to_spread_over() -> None:
    table = table_of(node("a", cpu="1"))
    table.add_pod(pod_info(pod("low", cpu="1", labels={"app": "x"})), "a")
    spread = {"maxSkew": 9, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    decision = decide(table, pod("p", cpu="1", priority=10, topologySpreadConstraints=[spread]))
    assert (decision.nominated, decision.victims) == ("", ())


def test_room_can_be_made_by_the_only_pods_that_the_newcomer_wants_to_be_near_to() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    table = table_of(node("a", cpu="1", labels={"zone": "1"}))
    table.add_pod(pod_info(pod("low", cpu="1", labels={"app": "x"})), "a")
    first = decide(table, pod("p", cpu="1", priority=10, labels={"app": "x"}, affinity=near))
    assert (first.nominated, first.victims) == ("a", ("default/low",))
    assert decide(table, pod("q", cpu="1", priority=10, affinity=near)).nominated == ""


def test_room_that_was_made_for_another_is_not_made_twice() -> None:
    snapshot = Snapshot(table_of(node("a", cpu="1"), node("b", cpu="1")))
    for name in ("a", "b"):
        snapshot.table.add_pod(pod_info(pod(f"low-{name}", cpu="1", priority=1)), name)
    first = schedule(snapshot, pod_info(pod("one", cpu="1", priority=9)), PROFILE)
    snapshot.nominated["default/one"] = pod_info(pod("one", cpu="1", priority=9)), first.nominated
    second = schedule(snapshot, pod_info(pod("two", cpu="1", priority=9)), PROFILE)
    assert {first.nominated, second.nominated} == {"a", "b"}
    assert "default/one" not in snapshot.table.pod_rows


def test_a_nominated_pod_goes_to_its_node_though_another_is_better() -> None:
    table = table_of(node("a"), node("b"))
    table.add_pod(pod_info(pod("x", cpu="3")), "a")
    nominated = {**pod("p", cpu="500m"), "status": {"nominatedNodeName": "a"}}
    assert decide(table, nominated).node == "a"
    nominated["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "b"}
    assert decide(table, nominated).node == "b"


def test_only_a_part_of_the_nodes_is_scored_when_that_is_asked_for() -> None:
    table = table_of(*(node(f"n{i}") for i in range(300)))
    document = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": 40,
    }
    profile = parse_config(document).profiles["default-scheduler"]
    snapshot = Snapshot(table)
    looked_at = [set(schedule(snapshot, pod_info(pod(f"p{i}")), profile).totals) for i in range(3)]
    assert [len(names) for names in looked_at] == [120, 120, 120]
    assert not looked_at[0] & looked_at[1] and looked_at[0] | looked_at[1] | looked_at[2] == {f"n{i}" for i in range(300)}


def test_preemption_does_not_try_the_same_few_nodes_each_time() -> None:
    table = table_of(*(node(f"n{i}", cpu="2") for i in range(40)))
    for i in range(40):
        table.add_pod(pod_info(pod(f"low{i}", cpu="2", priority=1)), f"n{i}")
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [{"pluginConfig": [
        {"name": "DefaultPreemption", "args": {"minCandidateNodesPercentage": 5, "minCandidateNodesAbsolute": 1}}]}]}  # fmt: skip
    profile = parse_config(document).profiles["default-scheduler"]
    high = pod_info(pod("high", cpu="2", priority=10))
    chosen = {schedule(Snapshot(table), high, profile, random.Random(seed)).nominated for seed in range(20)}
    assert len(chosen) > 5 and "" not in chosen


def test_what_was_tried_once_counts_until_the_node_its_pods_or_budgets_change() -> None:
    budgets: list[Obj] = []
    view = ClusterView(budgets=lambda namespace: budgets)
    snapshot = Snapshot(table_of(node("a", cpu="2"), node("b", cpu="2")), view)
    for name, where, priority in (("mid", "a", 5), ("low", "b", 1)):
        snapshot.table.add_pod(pod_info(pod(name, cpu="2", labels={"app": name}, priority=priority)), where)

    def nominated() -> str:
        return schedule(snapshot, pod_info(pod("p", cpu="1", priority=10)), PROFILE).nominated

    assert (nominated(), nominated()) == ("b", "b")
    budget = {
        "metadata": {"name": "b"},
        "spec": {"selector": {"matchLabels": {"app": "low"}}},
        "status": {"disruptionsAllowed": 0},
    }
    budgets.append(budget)
    assert nominated() == "a"
    budgets.clear()
    snapshot.table.add_pod(pod_info(pod("low", cpu="2", priority=7)), "b")
    assert nominated() == "a"
