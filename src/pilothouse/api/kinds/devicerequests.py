"""What a claim may ask for: requests, constraints among them, and configuration (API reference: DeviceClaim)."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import orjson

from pilothouse.api import names, quantity
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, not_supported, required, too_long, too_many
from pilothouse.api.internal_form import dump
from pilothouse.api.kinds.volumesource import csi_driver_name

#: Requests, constraints, configurations, selectors, and references to requests, each.
MOST = 32
MOST_OPTIONS, MOST_TOLERATIONS, MOST_BINDINGS = 8, 16, 4
#: Bytes of a driver's parameters or data.
LONGEST_RAW = 10 * 1024
_MODES = ("All", "ExactCount")
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_NEITHER = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
_NO_DOMAIN = "a fully qualified name must be a domain and a name separated by a slash"
_UNKNOWN = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_TOLERATION = "Key:key Operator:operator Value:value Effect:effect TolerationSeconds:tolerationSeconds?"


def default_devices(devices: Obj) -> None:
    """Who does not say how many wants one, in place."""
    for request in devices.get("requests") or ():
        for wanted in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if wanted is not None:
                _default(wanted)


def _default(wanted: Obj) -> None:
    if not wanted.get("allocationMode"):
        wanted["allocationMode"] = "ExactCount"
    if wanted["allocationMode"] == "ExactCount" and not wanted.get("count"):
        wanted["count"] = 1
    for toleration in wanted.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


def validate_devices(devices: Obj, path: str) -> list[FieldError]:
    """Errors of all that a claim asks for."""
    requests = devices.get("requests") or []
    out = at_most(f"{path}.requests", requests, MOST)
    seen: set[str] = set()
    for n, request in enumerate(requests):
        where, name = f"{path}.requests[{n}]", request.get("name") or ""
        if name in seen:
            out.append(duplicate(where, name))
        else:
            out += _validate_request(request, where)
        seen.add(name)
    known = request_names(requests)
    constraints, configs = devices.get("constraints") or [], devices.get("config") or []
    out += at_most(f"{path}.constraints", constraints, MOST)
    for n, constraint in enumerate(constraints):
        out += _validate_constraint(constraint, known, f"{path}.constraints[{n}]")
    out += at_most(f"{path}.config", configs, MOST)
    for n, config in enumerate(configs):
        where = f"{path}.config[{n}]"
        out += validate_references(config.get("requests") or [], known, f"{where}.requests")
        out += validate_config(config, where)
    return out


def _validate_constraint(constraint: Obj, known: set[str], path: str) -> list[FieldError]:
    out = validate_references(constraint.get("requests") or [], known, f"{path}.requests")
    found = [key for key in ("matchAttribute", "distinctAttribute") if constraint.get(key) is not None]
    for key in found:
        out += _validate_attribute(constraint[key], f"{path}.{key}")
    return out if found else [*out, required(path, _NEITHER)]


def at_most(path: str, items: Sized, most: int) -> list[FieldError]:
    return [too_many(path, len(items), most)] if len(items) > most else []


def request_names(requests: list[Obj]) -> set[str]:
    """What constraints, configurations and results may refer to."""
    out: set[str] = set()
    for request in requests:
        out.add(request.get("name") or "")
        out |= {f"{request.get('name') or ''}/{sub.get('name') or ''}" for sub in request.get("firstAvailable") or ()}
    return out


def _validate_request(request: Obj, path: str) -> list[FieldError]:
    name, exactly, options = request.get("name") or "", request.get("exactly"), request.get("firstAvailable") or []
    out = named(f"{path}.name", name, names.dns1123_label(name))
    if exactly is None and not options:
        return [*out, required(path, _ONE_OF)]
    if exactly is not None and options:
        return [*out, invalid(path, None, f"{_ONE_OF}, but multiple fields are set")]
    if exactly is not None:
        return out + _validate_wanted(exactly, f"{path}.exactly")
    out += at_most(f"{path}.firstAvailable", options, MOST_OPTIONS)
    seen: set[str] = set()
    for n, option in enumerate(options):
        where, sub = f"{path}.firstAvailable[{n}]", option.get("name") or ""
        out += [duplicate(where, sub)] if sub in seen else named(f"{where}.name", sub, names.dns1123_label(sub))
        seen.add(sub)
        out += _validate_wanted(option, where)
    return out


def _validate_wanted(wanted: Obj, path: str) -> list[FieldError]:
    """Devices of one class, so many of them."""
    cls, mode, count = wanted.get("deviceClassName") or "", wanted["allocationMode"], wanted.get("count") or 0
    where = f"{path}.deviceClassName"
    out = named(where, cls, names.dns1123_subdomain(cls)) if cls else [required(where)]
    out += validate_selectors(wanted.get("selectors") or [], f"{path}.selectors")
    if mode not in _MODES:
        out.append(not_supported(f"{path}.allocationMode", mode, _MODES))
    elif mode == "All" and count:
        out.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    elif mode == "ExactCount" and count <= 0:
        out.append(invalid(f"{path}.count", count, "must be greater than zero"))
    return out + validate_tolerations(wanted.get("tolerations") or [], f"{path}.tolerations")


def validate_tolerations(tolerations: list[Obj], path: str) -> list[FieldError]:
    out = at_most(path, tolerations, MOST_TOLERATIONS)
    for n, toleration in enumerate(tolerations):
        out += _validate_toleration(toleration, f"{path}[{n}]")
    return out


def validate_selectors(selectors: list[Obj], path: str) -> list[FieldError]:
    out = at_most(path, selectors, MOST)
    for n, selector in enumerate(selectors):
        cel = selector.get("cel")
        out += [required(f"{path}[{n}].cel")] if cel is None else _validate_expression(cel, f"{path}[{n}].cel.expression")
    return out


def _validate_expression(cel: Obj, path: str) -> list[FieldError]:
    from pilothouse.api.cel import devices  # the language is loaded where somebody uses it

    return devices.expression_errors(cel.get("expression") or "", path)


def _validate_toleration(toleration: Obj, path: str) -> list[FieldError]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    out = named(f"{path}.key", key, names.qualified_name(key)) if key else []
    if operator == "Exists":
        if value:
            out.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        out += named(f"{path}.value", value, names.label_value(value))
    else:
        out.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    return out if not effect or effect in _EFFECTS else [*out, not_supported(f"{path}.effect", effect, _EFFECTS)]


def validate_references(requests: list[str], known: set[str], path: str) -> list[FieldError]:
    out = at_most(path, requests, MOST)
    for n, name in enumerate(requests):
        where = f"{path}[{n}]"
        out += [duplicate(where, name)] if name in requests[:n] else validate_reference(name, known, where)
    return out


def validate_reference(name: str, known: set[str], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for part in name.split("/", 1):
        out += named(path, name, names.dns1123_label(part))
    return out if name in known else [*out, invalid(path, name, _UNKNOWN)]


def _validate_attribute(name: str, path: str) -> list[FieldError]:
    """A domain, a slash and an identifier."""
    domain, slash, identifier = name.rpartition("/")
    if not slash:
        return [*named(path, name, names.c_identifier(name)), invalid(path, name, _NO_DOMAIN)]
    return named(path, domain, names.dns1123_subdomain(domain)) + named(path, identifier, names.c_identifier(identifier))


def validate_config(config: Obj, path: str) -> list[FieldError]:
    """Configuration is for one driver, and an object."""
    opaque = config.get("opaque")
    if opaque is None:
        return [required(f"{path}.opaque")]
    out = csi_driver_name(opaque.get("driver") or "", f"{path}.opaque.driver")
    where, parameters = f"{path}.opaque.parameters", opaque.get("parameters")
    return [*out, required(where)] if parameters is None else out + validate_raw(parameters, where)


def validate_raw(value: Any, path: str) -> list[FieldError]:
    """Errors of what only a driver understands: an object, not too long."""
    if len(orjson.dumps(value)) > LONGEST_RAW:
        return [too_long(path, LONGEST_RAW)]
    return [] if isinstance(value, dict) else [invalid(path, "<value omitted>", "must be a valid JSON object")]


# --- how messages show it -------------------------------------------------------------------------------------------------------------


def shown_devices(devices: Obj) -> Obj:
    requests, constraints, config = (devices.get(key) for key in ("requests", "constraints", "config"))
    return {
        "Requests": None if requests is None else [_shown_request(r) for r in requests],
        "Constraints": constraints
        and [
            dump(c, "Requests:requests? MatchAttribute:matchAttribute? DistinctAttribute:distinctAttribute?") for c in constraints
        ],
        "Config": config
        and [dump(c, "Requests:requests? Opaque:opaque?", {"opaque": "Driver:driver Parameters:parameters?"}) for c in config],
    }


def _shown_request(request: Obj) -> Obj:
    exactly, options = request.get("exactly"), request.get("firstAvailable")
    return {
        "Name": request.get("name", ""),
        "Exactly": None if exactly is None else _shown_wanted(exactly, {}, {"AdminAccess": exactly.get("adminAccess")}),
        "FirstAvailable": None if options is None else [_shown_wanted(o, {"Name": o.get("name", "")}, {}) for o in options],
    }


def _shown_wanted(wanted: Obj, first: Obj, access: Obj) -> Obj:
    selectors, tolerations, capacity = (wanted.get(key) for key in ("selectors", "tolerations", "capacity"))
    amounts = (capacity or {}).get("requests")
    return {
        **first,
        "DeviceClassName": wanted.get("deviceClassName", ""),
        "Selectors": None if selectors is None else [{"CEL": dump(s.get("cel"), "Expression:expression")} for s in selectors],
        "AllocationMode": wanted.get("allocationMode", ""),
        "Count": wanted.get("count", 0),
        **access,
        "Tolerations": None if tolerations is None else [dump(t, _TOLERATION) for t in tolerations],
        "Capacity": None if capacity is None else {"Requests": {k: quantity.canonical(v) for k, v in (amounts or {}).items()}},
    }


def validate_bindings(device: Obj, path: str) -> list[FieldError]:
    """Errors of the conditions for which binding waits: those of failure go with those of success."""
    out: list[FieldError] = []
    for key in ("bindingConditions", "bindingFailureConditions"):
        out += at_most(f"{path}.{key}", device.get(key) or (), MOST_BINDINGS)
        for n, condition in enumerate(device.get(key) or ()):
            out += named(f"{path}.{key}[{n}]", condition, names.qualified_name(condition))
    for key, other in (("bindingConditions", "bindingFailureConditions"), ("bindingFailureConditions", "bindingConditions")):
        if device.get(key) and not device.get(other):
            out.append(invalid(f"{path}.{other}", device.get(other), f"{other} are required to use {key}"))
    return out
