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


# --- capacities that are shared out -------------------------------------------------------------------------------------------------

POLICY = "spec.devices[0].capacity[mem].requestPolicy"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"validValues": ["1"]}, [f"{POLICY}.default: Required value: required when validValues is defined"]),
        (
            {"default": "3", "validValues": ["2", "1", "20"]},
            [
                f'{POLICY}.validValues[1]: Invalid value: "1": values must be sorted in ascending order',
                f'{POLICY}.validValues[2]: Invalid value: "20": option is larger than capacity value: 8',
                f'{POLICY}.validValues: Invalid value: "3": default value is not valid according to the requestPolicy',
            ],
        ),
        ({"default": "1", "validRange": {}}, [f"{POLICY}.validRange.min: Required value: required when validRange is defined"]),
        (
            {"default": "1", "validRange": {"min": "9", "max": "7", "step": "1"}},
            [
                f'{POLICY}.validRange.min: Invalid value: "9": min is larger than capacity value: 8',
                f'{POLICY}.validRange.min: Invalid value: "1": default is less than min: 9',
                f'{POLICY}.validRange.max: Invalid value: "9": min is larger than max: 7',
                f'{POLICY}.validRange.step: Invalid value: "1": one step 10 is larger than capacity value: 8',
            ],
        ),
        (
            {"default": "4", "validRange": {"min": "1", "max": "7", "step": "2"}},
            [f'{POLICY}.validRange.step: Invalid value: "4": value is not a multiple of a given step (2) from (1)'],
        ),
        ({"default": "3", "validRange": {"min": "1", "max": "7", "step": "2"}}, []),
    ],
)
def test_a_capacity_is_shared_out_within_what_there_is(policy: dict[str, Any], told: list[str]) -> None:
    device = {"name": "d", "allowMultipleAllocations": True, "capacity": {"mem": {"value": "8", "requestPolicy": policy}}}
    assert slices.wrong({"spec": {**SLICE, "devices": [device]}}) == told


COUNTERS = {"mem": {"value": "1"}}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"sharedCounters": [{"name": "a", "counters": {}}]}, ["spec.sharedCounters[0].counters: Required value"]),
        ({"sharedCounters": [{"counters": COUNTERS}]}, ["spec.sharedCounters[0].name: Required value"]),
        (
            {"sharedCounters": [{"name": "a", "counters": COUNTERS}, {"name": "a", "counters": COUNTERS}]},
            ['spec.sharedCounters[1]: Duplicate value: "a"'],
        ),
        (
            {"sharedCounters": [{"name": "a", "counters": COUNTERS}], "devices": [{"name": "d"}]},
            ['spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
        ),
        (
            {"devices": [{"name": "d", "consumesCounters": [{"counterSet": "a"}]}]},
            ["spec.devices[0].consumesCounters[0].counters: Required value"],
        ),
        ({"devices": [{"name": f"d{n}"} for n in range(129)]}, ["spec.devices: Too many: 129: must have at most 128 items"]),
        (
            {"devices": [{"name": f"d{n}", "taints": [{"key": "k", "effect": "None"}]} for n in range(65)]},
            ["spec.devices: Too many: 65: must have at most 64 items"],
        ),
    ],
)
def test_counters_are_named_and_not_too_many(more: dict[str, Any], told: list[str]) -> None:
    assert slices.wrong({"spec": {**SLICE, **more}}) == told


# --- what a claim got ---------------------------------------------------------------------------------------------------------------

RESULT = {"request": "r", "driver": "a.b", "pool": "p", "device": "d"}
ALLOCATION = {"devices": {"results": [RESULT]}}
POD = {"resource": "pods", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"allocation": ALLOCATION, "reservedFor": [POD]}, []),
        ({"reservedFor": [POD]}, ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]),
        ({"allocation": ALLOCATION, "reservedFor": [POD, POD]}, ['status.reservedFor[1]: Duplicate value: "u"']),
        (
            {"allocation": ALLOCATION, "reservedFor": [{"uid": "u", "resource": "", "name": ""}]},
            ["status.reservedFor[0].resource: Required value", "status.reservedFor[0].name: Required value"],
        ),
        (
            {"allocation": {"devices": {"results": [{**RESULT, "request": "x"}]}}},
            [
                'status.allocation.devices.results[0].request: Invalid value: "x": must be the name of a request in the claim or the '
                "name of a request and a subrequest separated by '/'"
            ],
        ),
        (
            {"allocation": {"devices": {"config": [{"source": "X", "opaque": {"driver": "a.b", "parameters": {}}}]}}},
            ['status.allocation.devices.config[0].source: Unsupported value: "X": supported values: "FromClaim", "FromClass"'],
        ),
        (
            {"allocation": ALLOCATION, "devices": [{"driver": "a.b", "pool": "p", "device": "other"}]},
            [
                'status.devices[0]: Invalid value: {"Driver":"a.b","Pool":"p","Device":"other","ShareID":""}: must be an allocated '
                "device in the claim"
            ],
        ),
        (
            {"allocation": ALLOCATION, "devices": [{**RESULT, "networkData": {"ips": ["10.1.2.3"], "interfaceName": "x" * 257}}]},
            [
                "status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes",
                'status.devices[0].networkData.ips[0]: Invalid value: "10.1.2.3": must be a valid address in CIDR form, '
                "(e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ],
        ),
    ],
)
def test_a_claims_status_agrees_with_itself(status: dict[str, Any], told: list[str]) -> None:
    for device in status.get("devices", ()):
        device.pop("request", None)
    assert claims.write_status(claim(ONE), status)[1] == told


def test_an_allocation_stays_what_it_is() -> None:
    before, _ = claims.write_status(claim(ONE), {"allocation": ALLOCATION})
    after = {**before, "status": {"allocation": {"devices": {"results": [{**RESULT, "device": "e"}]}}}}
    (wrong,) = claims.strategy.validate_subresource("status", after, before)
    assert (wrong.field, wrong.detail) == ("status.allocation", "field is immutable")
    assert claims.strategy.validate_subresource("status", {**before, "status": {}}, before) == []


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"shareID": "Bad"}, '.shareID: Invalid value: "Bad": must be a lowercase UUID in 8-4-4-4-12 format'),
        (
            {"bindingConditions": ["a"]},
            ".bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
        ),
    ],
)
def test_a_result_of_allocation_is_checked(result: dict[str, Any], told: str) -> None:
    status = {"allocation": {"devices": {"results": [{**RESULT, **result}]}}}
    assert claims.write_status(claim(ONE), status)[1] == [f"status.allocation.devices.results[0]{told}"]


def test_what_gates_keep_out_is_forgotten() -> None:
    device = {
        "name": "d",
        "attributes": {"x": {"int": 1, "ints": [2]}},
        "nodeAllocatableResourceMappings": {"cpu": {"capacityKey": "c"}},
    }
    made = slices.stored({"spec": {**SLICE, "devices": [device]}})
    assert made["spec"]["devices"] == [{"name": "d", "attributes": {"x": {"int": 1}}}]
