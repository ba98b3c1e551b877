"""Configurations of admission webhooks: what they mean where they do not say, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

GROUP = "admissionregistration.k8s.io"
validating = Kind(GROUP, "v1", "validatingwebhookconfigurations")
mutating = Kind(GROUP, "v1", "mutatingwebhookconfigurations")

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


def hook(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "a.example.com", "clientConfig": {"url": "https://h/p"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [RULE],
    }  # fmt: skip
    return {k: v for k, v in (base | changes).items() if v is not None}


def wrong(kind: Kind = validating, **changes: Any) -> list[str]:
    return [text.removeprefix("webhooks[0].") for text in kind.wrong({"webhooks": [hook(**changes)]})]


def rule(**changes: Any) -> list[str]:
    return [text.removeprefix("rules[0].") for text in wrong(rules=[RULE | changes])]


def test_a_webhook_fails_closed_waits_ten_seconds_and_is_for_equivalent_resources_of_any_scope() -> None:
    made = mutating.stored({"webhooks": [hook(clientConfig={"service": {"namespace": "n", "name": "s"}})]})["webhooks"][0]
    assert made["failurePolicy"] == "Fail"
    assert made["timeoutSeconds"] == 10
    assert made["matchPolicy"] == "Equivalent"
    assert made["namespaceSelector"] == made["objectSelector"] == {}
    assert made["rules"][0]["scope"] == "*"
    assert made["reinvocationPolicy"] == "Never"
    assert made["clientConfig"]["service"]["port"] == 443


def test_what_must_be_said_is_asked_for_in_the_order_of_the_reference() -> None:
    assert wrong(sideEffects=None, clientConfig={}, admissionReviewVersions=[]) == [
        "sideEffects: Required value: must specify one of None, NoneOnDryRun",
        "clientConfig: Required value: exactly one of url or service is required",
        "admissionReviewVersions: Required value: must specify one of v1, v1beta1",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": ""}, ["name: Required value"]),
        ({"name": "a.b"}, ['name: Invalid value: "a.b": should be a domain with at least three segments separated by dots']),
        ({"sideEffects": "Some"}, ['sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"']),
        ({"timeoutSeconds": 31}, ["timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"]),
        ({"admissionReviewVersions": ["v2"]}, ['admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1']),
        ({"admissionReviewVersions": ["v1", "v1"]}, ['admissionReviewVersions[1]: Invalid value: "v1": duplicate version']),
        ({"clientConfig": {"url": "http://h"}}, ["clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"]),
        ({"clientConfig": {"service": {"namespace": "n", "name": "s", "path": "x"}}}, [
            "clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            'clientConfig.service.path: Invalid value: "x": segment[0] may not be empty',
        ]),
        ({"matchConditions": [{"name": "a", "expression": "1"}]}, ['matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int']),
        ({"matchConditions": [{"name": f"a{n}", "expression": "true"} for n in range(65)]}, ["matchConditions: Too many: 65: must have at most 64 items"]),
    ],
)  # fmt: skip
def test_each_field_is_checked(changes: dict[str, Any], told: list[str]) -> None:
    assert wrong(**changes) == told


def test_names_of_webhooks_are_unique_and_only_mutating_ones_are_asked_again() -> None:
    assert validating.wrong({"webhooks": [hook(), hook()]}) == ['webhooks[1].name: Duplicate value: "a.example.com"']
    assert wrong(mutating, reinvocationPolicy="X") == [
        'reinvocationPolicy: Unsupported value: "X": supported values: "IfNeeded", "Never"'
    ]


def test_rules_say_nothing_twice() -> None:
    assert rule(operations=[], apiGroups=[], apiVersions=[], resources=[]) == [
        f"{part}: Required value" for part in ("operations", "apiGroups", "apiVersions", "resources")
    ]
    assert rule(resources=["*/*", "pods"]) == [
        'resources: Invalid value: ["*/*","pods"]: if \'*/*\' is present, must not specify other resources'
    ]
    assert rule(resources=["pods/*", "pods/status"]) == [
        "resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"
    ]
    assert rule(resources=["*/status", "pods/status"]) == [
        "resources[1]: Invalid value: \"pods/status\": if '*/status' is present, must not specify pods/status"
    ]
