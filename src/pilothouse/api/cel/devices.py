"""Selectors of devices (`selectors[].cel.expression` of claims and device classes): compiled once, asked once a device.

The variable is `device`: `driver`, `attributes` and `capacity` by domain and name, `allowMultipleAllocations`. A name without a domain
belongs to the driver's; a domain that is not there is one without names, a name that is not there an error. API reference:
CELDeviceSelector of resource.k8s.io.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pilothouse.api.cel import types
from pilothouse.api.cel.errors import CelError, CompileError
from pilothouse.api.cel.lib.quantity import quantity
from pilothouse.api.cel.lib.semver import semver
from pilothouse.api.cel.program import CALL_LIMIT, Program, compile_expression
from pilothouse.api.cel.sizes import Bounds
from pilothouse.api.cel.types import Type
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, too_long

#: Bytes of an expression.
LONGEST = 10 * 1024

_FIELDS: dict[str, Type] = {
    "driver": types.STRING,
    "attributes": types.map_of(types.STRING, types.map_of(types.STRING, types.DYN)),
    "capacity": types.map_of(types.STRING, types.map_of(types.STRING, Type("kubernetes.Quantity"))),
    "allowMultipleAllocations": types.BOOL,
}
#: Attributes of a device, or amounts of it, and characters of an attribute and of a driver's name.
_MANY, _LONG, _DRIVER = 32, 64, 63
_ATTRIBUTES = Bounds(_MANY, 2, element=Bounds(_MANY, 2, element=Bounds(_LONG)), key=Bounds(_DRIVER))
_CAPACITY = Bounds(_MANY, 2, element=Bounds(_MANY, 2, element=Bounds()), key=Bounds(_DRIVER))
_BOUNDS = Bounds(
    fields={"driver": Bounds(_DRIVER), "attributes": _ATTRIBUTES, "capacity": _CAPACITY, "allowMultipleAllocations": Bounds()}
)
_DEVICE = Type("object", name="kubernetes.DRADevice", fields={name: (name, kind) for name, kind in _FIELDS.items()})


class Domains(dict[str, Any]):
    """What a device has, by domain: an unknown domain is empty when it is looked into, and not there when it is asked for with `in`."""

    cel_type = "map"

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, {})


class Selector:
    """One expression. CompileError says what is wrong with it, TypeError that it decides nothing."""

    __slots__ = ("_program", "cost")

    def __init__(self, expression: str) -> None:
        self._program: Program = compile_expression(expression, {"device": _DEVICE}, bounds=_BOUNDS, bindings=True)
        #: The most that one device can cost.
        self.cost = self._program.cost
        if self._program.type.kind not in ("bool", "dyn"):
            raise TypeError(f"must evaluate to bool or the unknown type, not {self._program.type}")

    def matches(self, device: Mapping[str, Any]) -> bool:
        """Whether a device (see `device_value`) is one that is wanted. CelError where the expression has no answer for it."""
        found = self._program.evaluate({"device": device}, CALL_LIMIT)[0]
        if type(found) is not bool:
            raise CelError(f"expression evaluated to {found!r} instead of a bool")
        return found


@functools.lru_cache(maxsize=4096)
def selector(expression: str) -> Selector:
    """The selector of an expression, compiled once."""
    return Selector(expression)


def device_value(driver: str, device: Obj) -> dict[str, Any]:
    """One entry of a ResourceSlice's `devices` as selectors see it; to be made once per device. CelError for what cannot be read."""
    attributes, capacity = Domains(), Domains()
    for name, attribute in (device.get("attributes") or {}).items():
        _put(attributes, driver, name, _attribute(attribute))
    for name, amount in (device.get("capacity") or {}).items():
        _put(capacity, driver, name, quantity(str(amount["value"])))
    multiple = bool(device.get("allowMultipleAllocations"))
    return {"driver": driver, "attributes": attributes, "capacity": capacity, "allowMultipleAllocations": multiple}


def _put(domains: Domains, driver: str, name: str, value: Any) -> None:
    domain, _, identifier = name.rpartition("/")
    domains.setdefault(domain or driver, {})[identifier] = value


def _attribute(attribute: Obj) -> Any:
    for key in ("int", "bool", "string"):
        if attribute.get(key) is not None:
            return attribute[key]
    if attribute.get("version") is not None:
        return semver(attribute["version"])
    raise CelError("unsupported attribute value")


def expression_errors(expression: str, path: str) -> list[FieldError]:
    """What is wrong with an expression that somebody wrote into a claim or a class."""
    if len(expression.encode()) > LONGEST:
        return [too_long(path, LONGEST)]
    try:
        cost = selector(expression).cost
    except CompileError as error:
        return [invalid(path, expression, f"compilation failed: {error}")]
    except TypeError as error:
        return [invalid(path, expression, str(error))]
    return [forbidden(path, "too complex, exceeds cost limit")] if cost > CALL_LIMIT else []
