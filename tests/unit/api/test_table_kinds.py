"""Tables of kinds against recorded ones, conversion of autoscalers, and the facts that kinds state about themselves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.kinds import STRATEGIES, strategy_for
from pilothouse.api.kinds.certificatesigningrequest import condition
from pilothouse.api.kinds.horizontalpodautoscaler import targets
from pilothouse.api.kinds.job import JobStrategy, state
from pilothouse.api.kinds.persistentvolume import PersistentVolumeStrategy
from pilothouse.api.kinds.resourcequota import ResourceQuotaStrategy
from pilothouse.api.strategy import Context, Strategy
from pilothouse.api.tables import RESOURCES, resource_for

FILE = Path(__file__).parents[2] / "golden" / "tables.jsonl.gz"
NOW = 1795500000.0
Obj = dict[str, Any]


def recorded() -> tuple[dict[str, Any], list[Obj]]:
    with gzip.open(FILE, "rt") as lines:
        first, *rest = map(json.loads, lines)
    return first["columns"], rest


COLUMNS, ROWS = recorded()


def of(key: str) -> Strategy:
    group, version, plural = key.split("/")
    resource = resource_for(group, version, plural)
    assert resource is not None
    return strategy_for(resource)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['resource']}-{r['cells'][0]}")
def test_rows_have_the_recorded_cells(row: Obj) -> None:
    cells = of(row["resource"]).cells(row["object"], NOW)
    volatile = ("<age>", "<time>")
    assert [w if w in volatile else c for c, w in zip(cells, row["cells"], strict=True)] == row["cells"]


@pytest.mark.parametrize("key", [r["resource"] for r in {r["resource"]: r for r in ROWS}.values()])
def test_kinds_have_the_recorded_columns(key: str) -> None:
    assert [[c.name, c.type, c.format, c.priority] for c in of(key).columns] == COLUMNS[key]


def listed() -> list[Any]:
    return [r for r in RESOURCES if "list" in r.verbs]


def test_every_kind_that_is_listed_has_its_own_file() -> None:
    assert [r.plural for r in listed() if r.group_resource not in STRATEGIES] == []


def kind(cls: type[Strategy], group: str, version: str, plural: str) -> Strategy:
    resource = resource_for(group, version, plural)
    assert resource is not None
    return cls(resource)


def test_a_volume_says_who_claims_it() -> None:
    volume: Obj = {
        "metadata": {"name": "v"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "persistentVolumeReclaimPolicy": "Retain",
                 "claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "s"},
        "status": {"phase": "Bound"},
    }  # fmt: skip
    cells = kind(PersistentVolumeStrategy, "", "v1", "persistentvolumes").cells(volume, NOW)
    assert cells == ["v", "1Gi", "ROX", "Retain", "Bound", "n/c", "s", "<unset>", "", "<unknown>", "<unset>"]


def test_a_quota_shows_what_is_used_of_what_there_is() -> None:
    quota: Obj = {
        "metadata": {"name": "q"},
        "status": {"hard": {"pods": "4", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "1"}},
    }
    cells = kind(ResourceQuotaStrategy, "", "v1", "resourcequotas").cells(quota, NOW)
    assert cells == ["q", "cpu: 0/1, pods: 1/4", "limits.cpu: 0/2", "<unknown>"]


@pytest.mark.parametrize(
    ("conditions", "deleted", "word"),
    [
        ([], False, "Running"), (["Suspended"], False, "Suspended"), (["Suspended"], True, "Terminating"), (["Complete"], True, "Complete"),
        (["FailureTarget", "Failed"], False, "Failed"), (["SuccessCriteriaMet"], False, "SuccessCriteriaMet"),
    ],
)  # fmt: skip
def test_a_jobs_state_is_one_word(conditions: list[str], deleted: bool, word: str) -> None:
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}
    assert state({"metadata": meta, "status": {"conditions": [{"type": c, "status": "True"} for c in conditions]}}) == word


def test_jobs_are_found_by_their_successes() -> None:
    jobs = kind(JobStrategy, "batch", "v1", "jobs")
    assert jobs.fields({"status": {"succeeded": 3}}) == {"status.successful": "3"}
    assert jobs.default_propagation == "Orphan"


def test_a_request_for_a_certificate_has_a_condition() -> None:
    assert condition({"status": {}}) == "Pending"
    assert condition({"status": {"conditions": [{"type": "Approved"}], "certificate": "x"}}) == "Approved,Issued"
    assert (
        condition({"status": {"conditions": [{"type": "Approved"}, {"type": "Denied"}, {"type": "Failed"}]}}) == "Denied,Failed"
    )


def test_targets_show_what_is_measured_beside_what_is_wanted() -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    pods = {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"averageValue": "5"}}}
    seen = [{"resource": {"current": {"averageUtilization": 20}}}, {"pods": {"current": {"averageValue": "4"}}}]
    assert targets([], []) == "<none>"
    assert targets([cpu, pods, cpu], seen) == "cpu: 20%/80%, 4/5 + 1 more..."


def test_status_writes_leave_metadata_alone_where_the_kind_says_so() -> None:
    schemas = of("flowcontrol.apiserver.k8s.io/v1/flowschemas")
    old: Obj = {"metadata": {"name": "f", "labels": {"a": "b"}}, "spec": {"x": 1}}
    obj: Obj = {"metadata": {"name": "f", "annotations": {"c": "d"}}, "spec": {"x": 2}, "status": {"conditions": []}}
    schemas.prepare_subresource("status", obj, old, Context(NOW, "flowcontrol.apiserver.k8s.io/v1"))
    assert obj == {"metadata": {"name": "f", "labels": {"a": "b"}}, "spec": {"x": 1}, "status": {"conditions": []}}


# --- autoscalers in two versions --------------------------------------------------------------------------------------------------

METRICS: list[Obj] = [
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "100Mi"}}},
    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 60}}},
    {"type": "Pods", "pods": {"metric": {"name": "m", "selector": {"matchLabels": {"q": "1"}}}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "i"}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "10"}}},
    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "i"}, "metric": {"name": "m"},
                                  "target": {"type": "AverageValue", "averageValue": "3"}}},
    {"type": "External", "external": {"metric": {"name": "e"}, "target": {"type": "AverageValue", "averageValue": "30"}}},
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
]  # fmt: skip


def autoscaler() -> Obj:
    rules = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}],
    }
    return {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h", "annotations": {"a": "b"}},
        "spec": {"maxReplicas": 4, "metrics": METRICS, "behavior": {"scaleUp": rules}},
        "status": {"desiredReplicas": 0, "currentMetrics": None, "conditions": [{"type": "AbleToScale", "status": "True"}]},
    }  # fmt: skip


def test_an_autoscaler_survives_being_read_and_written_in_the_older_version() -> None:
    strategy = of("autoscaling/v1/horizontalpodautoscalers")
    old = {**strategy.convert(autoscaler(), "autoscaling/v1"), "apiVersion": "autoscaling/v1"}
    assert old["spec"] == {"maxReplicas": 4, "targetCPUUtilizationPercentage": 70}
    back = {**strategy.convert(old, "autoscaling/v2"), "apiVersion": "autoscaling/v2"}
    assert back == autoscaler()


def test_annotations_that_cannot_be_read_are_dropped() -> None:
    old: Obj = {
        "apiVersion": "autoscaling/v1",
        "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{not json"}},
        "spec": {},
    }
    new = of("autoscaling/v1/horizontalpodautoscalers").convert(old, "autoscaling/v2")
    assert (new["metadata"], new["spec"]) == ({}, {})
