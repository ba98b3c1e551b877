"""What ResourceClaims ask for, parsed once per distinct text (API reference: DeviceClaim, DeviceRequest)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import quantity
from pilothouse.scheduler.devices import DEVICE_CLASSES
from pilothouse.scheduler.stock import Stock

Obj = dict[str, Any]

#: Devices in one claim at most.
MOST_DEVICES = 32
#: Choices in a prioritized list at most.
MOST_CHOICES = 8


class Impossible(Exception):
    """A claim that cannot be satisfied anywhere, with the reason that users are shown."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to satisfy a request: `name` is the request's, or request/subrequest. `count` is None for all devices that match."""

    name: str
    device_class: str
    expressions: tuple[str, ...]
    count: int | None
    admin: bool
    tolerations: tuple[Obj, ...]
    capacity: dict[str, int]  # in billionths
    raw: Obj


@dataclass(frozen=True, slots=True)
class Request:
    """`options` in order of preference; more than one way only in a prioritized list."""

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Constraint:
    """All devices of the requests (empty: of all) have the same value of an attribute, or all different ones."""

    attribute: str
    distinct: bool
    requests: frozenset[str]

    def concerns(self, option: Option) -> bool:
        return not self.requests or option.name in self.requests or option.name.partition("/")[0] in self.requests


@dataclass(frozen=True, slots=True)
class Wish:
    """One claim's requests and constraints, with the configuration that goes along."""

    requests: tuple[Request, ...]
    constraints: tuple[Constraint, ...]
    config: tuple[Obj, ...]


def parse_wish(spec: Obj, stock: Stock) -> Wish:
    """A ResourceClaim's spec. Impossible when a device class does not exist or too much is asked for."""
    devices = spec.get("devices") or {}
    requests = tuple(_request(r, stock) for r in devices.get("requests") or ())
    constraints = tuple(_constraint(c) for c in devices.get("constraints") or ())
    least = sum(min((o.count or 1) for o in r.options) for r in requests)
    if least > MOST_DEVICES:
        raise Impossible(f"exceeds the claim limit of {MOST_DEVICES} devices")
    return Wish(requests, constraints, tuple(devices.get("config") or ()))


def _request(raw: Obj, stock: Stock) -> Request:
    name = raw["name"]
    if raw.get("exactly") is not None:
        return Request(name, (_option(name, raw["exactly"], stock),))
    return Request(name, tuple(_option(f"{name}/{sub['name']}", sub, stock) for sub in raw.get("firstAvailable") or ()))


def _option(name: str, raw: Obj, stock: Stock) -> Option:
    class_name = raw.get("deviceClassName") or ""
    device_class = stock.get(DEVICE_CLASSES, "", class_name)
    if device_class is None:
        raise Impossible(f"request {name}: device class {class_name} does not exist")
    selectors = [*((device_class.get("spec") or {}).get("selectors") or ()), *(raw.get("selectors") or ())]
    wanted = ((raw.get("capacity") or {}).get("requests") or {}).items()
    return Option(
        name,
        class_name,
        tuple(s["cel"]["expression"] for s in selectors if s.get("cel")),
        None if raw.get("allocationMode") == "All" else int(raw.get("count") or 1),
        bool(raw.get("adminAccess")),
        tuple(raw.get("tolerations") or ()),
        {k: quantity.parse(v).nano for k, v in wanted},
        raw,
    )


def _constraint(raw: Obj) -> Constraint:
    distinct = raw.get("distinctAttribute")
    return Constraint(distinct or raw.get("matchAttribute") or "", bool(distinct), frozenset(raw.get("requests") or ()))


def preference(wish: Wish, chosen: Sequence[str]) -> int:
    """How much a claim likes what it would get: eight for the first choice of each prioritized list, one less for each later one."""
    total = 0
    for request in wish.requests:
        places = [n for n, o in enumerate(request.options) if "/" in o.name and o.name in chosen]
        total += MOST_CHOICES - places[0] if places else 0
    return total
