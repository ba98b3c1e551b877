"""How much of a device there is, how it may be shared out, and the counters that devices of a pool draw on.

API reference: CapacityRequestPolicy, CounterSet, DeviceCounterConsumption.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, required
from pilothouse.api.kinds.devicerequests import at_most

MOST_VALUES, MOST_COUNTER_SETS, MOST_COUNTERS, MOST_CONSUMPTIONS = 10, 8, 32, 2
_UNSORTED = "values must be sorted in ascending order"
_NOT_AMONG = "default value is not valid according to the requestPolicy"


def validate_policy(capacity: Obj, shared: bool, path: str) -> list[FieldError]:
    """Errors of a capacity's `requestPolicy`; `shared`: the device may be allocated more than once."""
    policy = capacity.get("requestPolicy")
    if policy is None:
        return []
    if not shared:
        return [forbidden(path, "allowMultipleAllocations must be true")]
    whole, default = capacity.get("value") or "0", policy.get("default")
    values, within = policy.get("validValues") or [], policy.get("validRange")
    if values and within is not None:
        return [forbidden(path, "only one of `validValues` and `validRange` may be set")]
    if default is None and (values or within is not None):
        return [required(f"{path}.default", f"required when {'validValues' if values else 'validRange'} is defined")]
    out = at_most(f"{path}.validValues", values, MOST_VALUES)
    out += _validate_values(values, default, whole, f"{path}.validValues") if values else []
    return out + (_validate_range(within, default, whole, f"{path}.validRange") if within is not None else [])


def _validate_values(values: list[Any], default: Any, whole: Any, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for n, value in enumerate(values):
        if quantity.compare(value, whole) > 0:
            told = f"option is larger than capacity value: {_text(whole)}"
            out.append(invalid(f"{path}[{n}]", _text(value), told))
        if n and quantity.compare(values[n - 1], value) >= 0:
            out.append(invalid(f"{path}[{n}]", _text(value), _UNSORTED))
    if all(quantity.compare(default, value) for value in values):
        out.append(invalid(path, _text(default), _NOT_AMONG))
    return out


def _validate_range(within: Obj, default: Any, whole: Any, path: str) -> list[FieldError]:
    """The smallest amount, the largest, and the steps between, all of which the device must have."""
    low, high, step = within.get("min"), within.get("max"), within.get("step")
    if low is None:
        return [required(f"{path}.min", "required when validRange is defined")]
    out: list[FieldError] = []

    def more(key: str, one: Any, other: Any, told: str) -> None:
        if quantity.compare(one, other) > 0:
            out.append(invalid(f"{path}.{key}", _text(default if told.startswith("default is less") else one), told))

    more("min", low, whole, f"min is larger than capacity value: {_text(whole)}")
    more("min", low, default, f"default is less than min: {_text(low)}")
    if high is not None:
        more("max", high, whole, f"max is larger than capacity value: {_text(whole)}")
        more("max", low, high, f"min is larger than max: {_text(high)}")
        more("max", default, high, f"default is more than max: {_text(high)}")
    return out + (_validate_step(step, low, high, default, whole, f"{path}.step") if step is not None else [])


def _validate_step(step: Any, low: Any, high: Any, default: Any, whole: Any, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    second = quantity.add(low, step)
    if quantity.compare(second, whole) > 0:
        told = f"one step {_text(second)} is larger than capacity value: {_text(whole)}"
        out.append(invalid(path, _text(step), told))
    size, start = quantity.parse(step).nano, quantity.parse(low).nano
    for value in (high, default):
        if value is not None and size and (quantity.parse(value).nano - start) % size:
            out.append(
                invalid(path, _text(value), f"value is not a multiple of a given step ({_text(step)}) from ({_text(low)})")
            )
    return out


def _text(value: Any) -> str:
    return quantity.canonical(value)


# --- counters -----------------------------------------------------------------------------------------------------------------------


def validate_counter_sets(sets: list[Obj], path: str) -> list[FieldError]:
    """Errors of the counters that the devices of a pool share."""
    out = at_most(path, sets, MOST_COUNTER_SETS)
    return out + _validate_sets(sets, "name", path)


def validate_consumption(used: list[Obj], path: str) -> list[FieldError]:
    """Errors of what a device takes from such counters."""
    out = at_most(path, used, MOST_CONSUMPTIONS)
    return out + _validate_sets(used, "counterSet", path)


def _validate_sets(sets: list[Obj], key: str, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, entry in enumerate(sets):
        name, where = entry.get(key) or "", f"{path}[{n}]"
        if name and name in seen:
            out.append(duplicate(where, name))
            continue
        seen.add(name)
        out += named(f"{where}.{key}", name, names.dns1123_label(name)) if name else [required(f"{where}.{key}")]
        out += _validate_counters(entry.get("counters") or {}, f"{where}.counters")
    return out


def _validate_counters(counters: Obj, path: str) -> list[FieldError]:
    if not counters:
        return [required(path)]
    out = at_most(path, counters, MOST_COUNTERS)
    for name in counters:
        out += named(path, name, names.dns1123_label(name))
    return out
