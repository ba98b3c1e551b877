"""What bounds others: limit ranges, quotas, disruption budgets."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

ranges = Kind("", "v1", "limitranges")
quotas = Kind("", "v1", "resourcequotas")
budgets = Kind("policy", "v1", "poddisruptionbudgets")


def limits(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"limits": list(items)}}


# --- limit ranges -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "default", "request_"),
    [
        ({"max": {"cpu": "2"}}, {"cpu": "2"}, {"cpu": "2"}),
        ({"default": {"cpu": "1"}, "max": {"cpu": "2"}}, {"cpu": "1"}, {"cpu": "1"}),
        ({"min": {"cpu": "1"}}, None, {"cpu": "1"}),
        ({"defaultRequest": {"cpu": "1"}, "default": {"cpu": "2"}}, {"cpu": "2"}, {"cpu": "1"}),
    ],
)
def test_a_container_gets_its_defaults_from_the_bounds(given: dict[str, Any], default: Any, request_: Any) -> None:
    (item,) = ranges.stored(limits({"type": "Container", **given}))["spec"]["limits"]
    assert (item.get("default"), item.get("defaultRequest")) == (default, request_)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            {"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "3"}},
            'min[cpu]: Invalid value: "3": min value 3 is greater than max value 2',
        ),
        (
            {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "3"}},
            'defaultRequest[cpu]: Invalid value: "3": default request value 3 is greater than default limit value 2',
        ),
        ({"type": "Pod", "default": {"cpu": "1"}}, "default: Forbidden: may not be specified when `type` is 'Pod'"),
        ({"type": "Pod", "defaultRequest": {"cpu": "1"}}, "defaultRequest: Forbidden: may not be specified when `type` is 'Pod'"),
        (
            {"type": "PersistentVolumeClaim"},
            "limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}},
            'maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1',
        ),
        ({"type": "x"}, 'type: Invalid value: "x": must be a standard limit type or fully qualified'),
    ],
)
def test_a_bad_limit_is_refused(item: dict[str, Any], told: str) -> None:
    assert ranges.wrong(limits(item)) == [f"spec.limits[0].{told}"]


def test_each_type_is_limited_once() -> None:
    assert ranges.wrong(limits({"type": "Pod"}, {"type": "Pod"})) == ['spec.limits[1].type: Duplicate value: "Pod"']


# --- quotas -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {
            "hard": {
                "count/widgets.example.com": "1",
                "requests.example.com/gpu": "1",
                "pods": "10",
                "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
            }
        },
        {"hard": {"pods": "1"}, "scopes": ["BestEffort"]},
        {
            "hard": {"cpu": "1"},
            "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]},
        },
    ],
)
def test_good_quotas_are_stored_as_they_are(spec: dict[str, Any]) -> None:
    assert quotas.stored({"spec": spec})["spec"] == spec


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"hard": {"cpu": "-1"}}, 'hard[cpu]: Invalid value: "-1": must be greater than or equal to 0'),
        ({"hard": {"pods": "1.5"}}, 'hard[pods]: Invalid value: "1500m": must be an integer'),
        (
            {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]},
            'scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource',
        ),
        (
            {"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]},
            'scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
        ),
        ({"hard": {"pods": "1"}, "scopes": ["X"]}, 'scopes: Invalid value: ["X"]: unsupported scope'),
        (
            {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            "scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for "
            "scope selector",
        ),
    ],
)
def test_a_bad_quota_is_refused(spec: dict[str, Any], told: str) -> None:
    assert quotas.wrong({"spec": spec}) == [f"spec.{told}"]


def test_a_quotas_scopes_stay() -> None:
    before = {"spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}}
    assert quotas.update(before, {"spec": {"hard": {"pods": "2"}, "scopes": ["BestEffort"]}})[1] == []
    assert quotas.update(before, {"spec": {"hard": {"pods": "1"}}})[1] == ["spec.scopes: Invalid value: null: field is immutable"]


# --- disruption budgets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [{"minAvailable": 1}, {"maxUnavailable": "50%"}, {"unhealthyPodEvictionPolicy": "AlwaysAllow"}])
def test_a_budget_counts_or_measures(spec: dict[str, Any]) -> None:
    assert budgets.stored({"spec": spec})["spec"] == spec


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "spec: Invalid value: "),
        ({"minAvailable": "101%"}, 'spec.minAvailable: Invalid value: "101%": must not be greater than 100%'),
        ({"maxUnavailable": -1}, "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"),
        ({"minAvailable": "x"}, 'spec.minAvailable: Invalid value: "x": a valid percent string must be'),
        (
            {"unhealthyPodEvictionPolicy": "X"},
            'spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget"',
        ),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.selector.matchExpressions[0].values: Required value",
        ),
    ],
)
def test_a_bad_budget_is_refused(spec: dict[str, Any], told: str) -> None:
    (wrong,) = budgets.wrong({"spec": spec})
    assert wrong.startswith(told)
