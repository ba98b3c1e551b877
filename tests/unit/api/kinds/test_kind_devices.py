"""Dynamic resource allocation: claims, their templates, classes and slices of devices."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

G = "resource.k8s.io"
claims = Kind(G, "v1", "resourceclaims")
templates = Kind(G, "v1", "resourceclaimtemplates")
classes = Kind(G, "v1", "deviceclasses")
slices = Kind(G, "v1", "resourceslices")


def claim(*requests: Any) -> dict[str, Any]:
    return {"spec": {"devices": {"requests": list(requests)}}}


ONE = {"name": "r", "exactly": {"deviceClassName": "cls"}}


def test_a_request_is_for_one_device_by_default() -> None:
    exactly = {"deviceClassName": "cls", "allocationMode": "ExactCount", "count": 1}
    assert claims.stored(claim(ONE))["spec"] == claim({"name": "r", "exactly": exactly})["spec"]
    assert templates.stored({"spec": claim(ONE)})["spec"] == {"metadata": {}} | claim({"name": "r", "exactly": exactly})


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"name": "r"}, ": Required value: exactly one of `exactly` or `firstAvailable` is required"),
        ({"name": "r", "exactly": {}}, ".exactly.deviceClassName: Required value"),
        (
            {"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "X"}},
            '.exactly.allocationMode: Unsupported value: "X": supported values: "All", "ExactCount"',
        ),
        (
            {"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 1}},
            ".exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
        ),
        ({"name": "r", "exactly": {"deviceClassName": "c", "selectors": [{}]}}, ".exactly.selectors[0].cel: Required value"),
    ],
)
def test_a_bad_request_is_refused_in_claims_and_templates(request_: dict[str, Any], told: str) -> None:
    assert claims.wrong(claim(request_)) == [f"spec.devices.requests[0]{told}"]
    assert templates.wrong({"spec": claim(request_)}) == [f"spec.spec.devices.requests[0]{told}"]


def test_constraints_name_requests_that_there_are() -> None:
    devices = {"requests": [ONE], "constraints": [{"requests": ["x"], "matchAttribute": "a.b/numa"}]}
    assert claims.wrong({"spec": {"devices": devices}}) == [
        'spec.devices.constraints[0].requests[0]: Invalid value: "x": must be the name of a request in the claim or the name of a '
        "request and a subrequest separated by '/'"
    ]


def test_what_a_claim_asks_for_never_changes() -> None:
    wrong = claims.update(claim(ONE), {"spec": {}})[1]
    assert wrong == ['spec: Invalid value: {"Devices":{"Requests":null,"Constraints":null,"Config":null}}: field is immutable']


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"config": [{}]}, "spec.config[0].opaque: Required value"),
        ({"config": [{"opaque": {"driver": "a.b"}}]}, "spec.config[0].opaque.parameters: Required value"),
        (
            {"extendedResourceName": "cpu"},
            'spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name',
        ),
    ],
)
def test_a_bad_class_is_refused(spec: dict[str, Any], told: str) -> None:
    assert classes.wrong({"spec": spec}) == [told]


SLICE = {"driver": "a.b", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "nodeName": "n"}
ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"nodeName": None}, f"spec: Required value: {ONE_PLACE}"),
        ({"allNodes": True}, f'spec: Invalid value: "{{`nodeName`, `allNodes`}}": {ONE_PLACE}, but multiple fields are set'),
        ({"devices": [{"name": "a"}, {"name": "a"}]}, 'spec.devices[1]: Duplicate value: "a"'),
        ({"pool": {"name": "p", "generation": 1}}, "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
    ],
)
def test_a_bad_slice_is_refused(more: dict[str, Any], told: str) -> None:
    assert slices.wrong({"spec": {k: v for k, v in {**SLICE, **more}.items() if v is not None}}) == [told]


def test_a_slice_stays_at_its_node() -> None:
    assert slices.update({"spec": SLICE}, {"spec": {**SLICE, "nodeName": "m"}})[1] == [
        'spec.nodeName: Invalid value: "m": field is immutable'
    ]


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ({"attributes": {"x": {}}}, '.attributes[x]: Invalid value: "": exactly one value must be specified'),
        (
            {"attributes": {"v": {"version": "not semver"}}},
            '.attributes[v].version: Invalid value: "not semver": must be a string compatible with semver.org spec 2.0.0',
        ),
        ({"attributes": {"s": {"string": "x" * 65}}}, ".attributes[s].string: Too long: may not be more than 64 bytes"),
        (
            {"taints": [{"key": "k", "effect": "X"}]},
            '.taints[0].effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "None"',
        ),
        (
            {"bindingConditions": ["x"]},
            ".bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
        ),
        (
            {"consumesCounters": [{"counterSet": "c", "counters": {"m": {"value": "1"}}}] * 2},
            '.consumesCounters[1]: Duplicate value: "c"',
        ),
    ],
)
def test_a_bad_device_is_refused(device: dict[str, Any], told: str) -> None:
    assert slices.wrong({"spec": {**SLICE, "devices": [{"name": "a", **device}]}}) == [f"spec.devices[0]{told}"]
