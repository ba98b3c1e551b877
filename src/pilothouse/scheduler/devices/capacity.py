"""Shares of devices that several claims may use at once (KEP-5075): how much of each capacity a request consumes.

A request is rounded up to what the capacity's policy allows; a capacity that is not asked for is consumed as the policy's default
says, or whole. Amounts are in billionths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import quantity

Obj = dict[str, Any]
Amounts = dict[str, int]


def named(name: str, driver: str) -> str:
    """A name with its domain; without one it is the driver's."""
    return name if "/" in name else f"{driver}/{name}"


def consumption(driver: str, device: Obj, requested: Mapping[str, int]) -> Amounts | None:
    """What a request consumes of a device, by the device's own names; None if the device does not have that much."""
    listed = device.get("capacity") or {}
    wanted = {named(k, driver): v for k, v in requested.items()}
    if not wanted.keys() <= {named(k, driver) for k in listed}:
        return None
    out: Amounts = {}
    for name, capacity in listed.items():
        whole = quantity.parse(capacity["value"]).nano
        amount = wanted.get(named(name, driver))
        if amount is not None and amount > whole:
            return None
        if device.get("allowMultipleAllocations"):
            used = _by_policy(amount, capacity.get("requestPolicy") or {}, whole)
            if used is None or used > whole:
                return None
            out[name] = used
    return out


def _by_policy(amount: int | None, policy: Obj, whole: int) -> int | None:
    if amount is None:
        return quantity.parse(policy["default"]).nano if policy.get("default") is not None else whole
    if policy.get("validValues"):
        values = (quantity.parse(v).nano for v in policy["validValues"])
        return min((v for v in values if v >= amount), default=None)
    valid = policy.get("validRange")
    if not valid:
        return amount
    low = quantity.parse(valid.get("min") or "0").nano
    amount = max(amount, low)
    if valid.get("step") is not None:
        step = quantity.parse(valid["step"]).nano
        amount = low + -(-(amount - low) // step) * step
    return None if valid.get("max") is not None and amount > quantity.parse(valid["max"]).nano else amount


def shown(device: Obj, amounts: Amounts) -> dict[str, str]:
    """Amounts as quantities, written in the family of the device's own."""
    listed = device.get("capacity") or {}
    return {n: quantity.render(quantity.Quantity(a, quantity.parse(listed[n]["value"]).family)) for n, a in amounts.items()}
