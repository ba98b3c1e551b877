"""Horizontal pod autoscalers, in both versions and from one to the other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kind_kit import Kind

new = Kind("autoscaling", "v2", "horizontalpodautoscalers")
old = Kind("autoscaling", "v1", "horizontalpodautoscalers")
BASE = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}


def cpu(**target: Any) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def test_an_autoscaler_aims_at_four_fifths_of_the_requested_processors() -> None:
    assert new.stored({"spec": BASE})["spec"] == {
        **BASE,
        "minReplicas": 1,
        "metrics": [cpu(type="Utilization", averageUtilization=80)],
    }
    assert old.stored({"spec": BASE})["spec"] == {**BASE, "minReplicas": 1, "targetCPUUtilizationPercentage": 80}


def test_behaviour_that_is_asked_for_in_part_is_completed() -> None:
    spec = new.stored({"spec": {**BASE, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 5}}}})["spec"]
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert (up["selectPolicy"], up["stabilizationWindowSeconds"]) == ("Max", 5)
    assert [p["type"] for p in up["policies"]] == ["Pods", "Percent"]
    assert down["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"maxReplicas": 1, "minReplicas": 2}, ["spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"]),
        ({"metrics": [{"type": "Resource"}]}, ["spec.metrics[0].resource: Required value: must populate information for the given metric source"]),
        ({"metrics": [cpu(type="Utilization", averageUtilization=0)]}, ["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"]),
        (
            {"metrics": [{"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "AverageValue", "averageValue": "1"}}}]},
            ["spec.metrics[0].pods.metric.name: Required value: must specify a metric name"],
        ),
        (
            {"metrics": [{"type": "External", "external": {"metric": {"name": "a"}, "target": {"type": "Value", "value": "1", "averageValue": "1"}}}]},
            ["spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"],
        ),
        (
            {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}},
            ["spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"],
        ),
        ({"behavior": {"scaleDown": {"policies": []}}}, ["spec.behavior.scaleDown.policies: Required value: must specify at least one Policy"]),
        (
            {"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}},
            [
                "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ],
        ),
    ],
)  # fmt: skip
def test_a_bad_autoscaler_is_refused(spec: dict[str, Any], told: list[str]) -> None:
    assert new.wrong({"spec": {**BASE, **spec}}) == told


def test_what_the_older_version_cannot_say_goes_into_annotations_and_comes_back() -> None:
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}
    pods = {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}}
    made, wrong = new.create({"spec": {**BASE, "metrics": [memory, pods, cpu(type="Utilization", averageUtilization=50)]}})
    assert wrong == []
    shown = old.strategy.convert(json.loads(json.dumps(made)), "autoscaling/v1")
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 50 and "metrics" not in shown["spec"]
    kept = json.loads(shown["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"])
    assert [m["type"] for m in kept] == ["Resource", "Pods"] and kept[0]["resource"] == {
        "name": "memory",
        "targetAverageValue": "1Gi",
    }
    shown["apiVersion"] = "autoscaling/v1"
    back = new.strategy.convert(shown, "autoscaling/v2")
    assert back["spec"]["metrics"] == made["spec"]["metrics"]
    assert not back["metadata"].get("annotations")
