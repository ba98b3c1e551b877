"""Selectors of devices."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.cel.devices import Selector, device_value, expression_errors
from pilothouse.api.cel.errors import CelError

GPU: dict[str, Any] = {
    "name": "gpu-0",
    "attributes": {
        "model": {"string": "a100"},
        "index": {"int": 3},
        "vendor.example.org/ecc": {"bool": True},
        "firmware": {"version": "2.10.0"},
    },
    "capacity": {"memory": {"value": "40Gi"}, "vendor.example.org/slices": {"value": "7"}},
}
DEVICE = device_value("gpu.example.com", GPU)


@pytest.mark.parametrize(
    "expression",
    [
        'device.driver == "gpu.example.com"',
        'device.attributes["gpu.example.com"].model == "a100"',
        'device.attributes["vendor.example.org"].ecc',
        'device.attributes["gpu.example.com"].index >= 3',
        'device.attributes["gpu.example.com"].firmware.isGreaterThan(semver("2.9.9"))',
        'device.capacity["gpu.example.com"].memory.compareTo(quantity("40Gi")) == 0',
        'device.capacity["vendor.example.org"].slices.isLessThan(quantity("8"))',
        '!("other.example.com" in device.attributes)',
        '!has(device.attributes["other.example.com"].model)',
        'cel.bind(gpu, device.attributes["gpu.example.com"], gpu.model.startsWith("a") && gpu.index < 4)',
        "!device.allowMultipleAllocations",
    ],
)
def test_a_selector_sees_driver_attributes_and_capacity_by_domain(expression: str) -> None:
    assert Selector(expression).matches(DEVICE) is True


@pytest.mark.parametrize(
    "expression", ['device.attributes["gpu.example.com"].nope == 1', 'device.attributes["other.example.com"].model == "x"']
)
def test_a_name_that_the_device_does_not_have_is_an_error(expression: str) -> None:
    with pytest.raises(CelError, match="no such key"):
        Selector(expression).matches(DEVICE)


def test_what_decides_nothing_is_an_error() -> None:
    with pytest.raises(CelError):
        Selector('device.attributes["gpu.example.com"].model').matches(DEVICE)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("1", 'Invalid value: "1": must evaluate to bool or the unknown type, not int'),
        ("device.nope", "undefined field 'nope'"),
        ("", "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>'"),
        (
            "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a < b || c < d))))",
            "Forbidden: too complex, exceeds cost limit",
        ),
        ("true" + " " * 10240, "Too long: may not be more than 10240 bytes"),
    ],
)
def test_a_wrong_expression_is_refused_when_it_is_written(expression: str, told: str) -> None:
    assert told in expression_errors(expression, "spec.selectors[0].cel.expression")[0].message


def test_a_device_with_an_attribute_of_no_known_type_cannot_be_selected() -> None:
    with pytest.raises(CelError):
        device_value("gpu.example.com", {"attributes": {"x": {}}})
