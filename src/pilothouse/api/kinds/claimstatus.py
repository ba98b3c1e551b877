"""What a ResourceClaim got: the devices, what their drivers say of them, and who may use them (API reference: ResourceClaimStatus)."""

from __future__ import annotations

import ipaddress
import re

from pilothouse.api import names, quantity
from pilothouse.api.checks import conditions, named
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_supported, required, too_long
from pilothouse.api.internal_form import dump
from pilothouse.api.kinds.devicerequests import (
    MOST,
    at_most,
    request_names,
    validate_bindings,
    validate_config,
    validate_raw,
    validate_reference,
    validate_references,
    validate_tolerations,
)
from pilothouse.api.kinds.nodeselector import shown_affinity, validate_node_selector
from pilothouse.api.kinds.volumesource import csi_driver_name

MOST_CONSUMERS, MOST_CONDITIONS, MOST_IPS, LONGEST_POOL = 256, 8, 16, 253
LONGEST_INTERFACE, LONGEST_ADDRESS = 256, 128
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_SOURCES = ("FromClaim", "FromClass")
_NOT_ALLOCATED = "may not be specified when `allocated` is not set"
_BEING_DELETED = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
_NOT_CIDR = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
_RESULT = (
    "Request:request Driver:driver Pool:pool Device:device AdminAccess:adminAccess? Tolerations:tolerations? "
    "BindingConditions:bindingConditions? BindingFailureConditions:bindingFailureConditions? ShareID:shareID? "
    "ConsumedCapacity:consumedCapacity?"
)
_TOLERATION = "Key:key Operator:operator Value:value Effect:effect TolerationSeconds:tolerationSeconds?"
_CONFIG = "Source:source Requests:requests? Opaque:opaque?"


def validate_status(claim: Obj, old: Obj) -> list[FieldError]:
    """Errors of a claim's changed status."""
    status, before = claim.get("status") or {}, old.get("status") or {}
    allocation, consumers = status.get("allocation"), status.get("reservedFor") or []
    out = _validate_consumers(consumers, "status.reservedFor")
    out += _validate_devices(status, "status.devices")
    if consumers and allocation is None:
        out.append(forbidden("status.reservedFor", _NOT_ALLOCATED))
    elif consumers and old["metadata"].get("deletionTimestamp"):
        known = {c.get("uid") for c in before.get("reservedFor") or ()}
        if any(c.get("uid") not in known for c in consumers):
            out.append(forbidden("status.reservedFor", _BEING_DELETED))
    if before.get("allocation") is not None:
        if allocation is not None and allocation != before["allocation"]:
            out.append(invalid("status.allocation", _shown(allocation), "field is immutable"))
    elif allocation is not None:
        requests = ((claim.get("spec") or {}).get("devices") or {}).get("requests") or []
        out += _validate_allocation(allocation, request_names(requests), "status.allocation")
    return out


def _validate_consumers(consumers: list[Obj], path: str) -> list[FieldError]:
    out = at_most(path, consumers, MOST_CONSUMERS)
    seen: set[str] = set()
    for n, consumer in enumerate(consumers):
        uid = consumer.get("uid") or ""
        if uid in seen:
            out.append(duplicate(f"{path}[{n}]", uid))
            continue
        seen.add(uid)
        out += [required(f"{path}[{n}].{key}") for key in ("resource", "name", "uid") if not consumer.get(key)]
    return out


# --- what was allocated ---------------------------------------------------------------------------------------------------------------


def _validate_allocation(allocation: Obj, known: set[str], path: str) -> list[FieldError]:
    devices = allocation.get("devices") or {}
    results, configs = devices.get("results") or [], devices.get("config") or []
    out = at_most(f"{path}.devices.results", results, MOST)
    for n, result in enumerate(results):
        where = f"{path}.devices.results[{n}]"
        out += validate_reference(result.get("request") or "", known, f"{where}.request")
        out += _validate_device(result, where)
        out += validate_bindings(result, where)
        out += _validate_share(result, where)
        out += validate_tolerations(result.get("tolerations") or [], f"{where}.tolerations")
    out += at_most(f"{path}.devices.config", configs, 2 * MOST)
    for n, config in enumerate(configs):
        out += _validate_config(config, known, f"{path}.devices.config[{n}]")
    selector = allocation.get("nodeSelector")
    return out + (validate_node_selector(selector, f"{path}.nodeSelector") if selector is not None else [])


def _validate_config(config: Obj, known: set[str], path: str) -> list[FieldError]:
    source = config.get("source") or ""
    out = [] if source else [required(f"{path}.source")]
    if source and source not in _SOURCES:
        out.append(not_supported(f"{path}.source", source, _SOURCES))
    return out + validate_references(config.get("requests") or [], known, f"{path}.requests") + validate_config(config, path)


def _validate_device(entry: Obj, path: str) -> list[FieldError]:
    """Which device it is: its driver, its pool, its name there."""
    pool, device = entry.get("pool") or "", entry.get("device") or ""
    out = csi_driver_name(entry.get("driver") or "", f"{path}.driver")
    return out + validate_pool_name(pool, f"{path}.pool") + named(f"{path}.device", device, names.dns1123_label(device))


def _validate_share(entry: Obj, path: str) -> list[FieldError]:
    share = entry.get("shareID")
    wrong = share is not None and not _UUID(share)
    return [invalid(f"{path}.shareID", share, "must be a lowercase UUID in 8-4-4-4-12 format")] if wrong else []


def validate_pool_name(pool: str, path: str) -> list[FieldError]:
    """Errors of a pool's name: subdomains with slashes between."""
    if not pool:
        return [required(path)]
    out = [too_long(path, LONGEST_POOL)] if names.size(pool) > LONGEST_POOL else []
    for part in pool.split("/"):
        out += named(path, part, names.dns1123_subdomain(part))
    return out


# --- what drivers say of it -----------------------------------------------------------------------------------------------------------


def _validate_devices(status: Obj, path: str) -> list[FieldError]:
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    allocated = {_identity(result) for result in results}
    out: list[FieldError] = []
    seen: set[tuple[str, ...]] = set()
    for n, device in enumerate(status.get("devices") or ()):
        where, identity = f"{path}[{n}]", _identity(device)
        if identity in seen:
            out.append(duplicate(where, _shown_identity(identity)))
            continue
        seen.add(identity)
        out += _validate_device(device, where)
        if identity not in allocated:
            out.append(invalid(where, _shown_identity(identity), "must be an allocated device in the claim"))
        out += _validate_share(device, where) + _validate_report(device, where)
    return out


def _identity(entry: Obj) -> tuple[str, ...]:
    return tuple(entry.get(key) or "" for key in ("driver", "pool", "device", "shareID"))


def _shown_identity(identity: tuple[str, ...]) -> Obj:
    return dict(zip(("Driver", "Pool", "Device", "ShareID"), identity, strict=True))


def _validate_report(device: Obj, path: str) -> list[FieldError]:
    told = device.get("conditions") or []
    out = at_most(f"{path}.conditions", told, MOST_CONDITIONS) + conditions(f"{path}.conditions", told)
    if device.get("data") is not None:
        out += validate_raw(device["data"], f"{path}.data")
    network = device.get("networkData")
    return out + (_validate_network(network, f"{path}.networkData") if network is not None else [])


def _validate_network(network: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key, longest in (("interfaceName", LONGEST_INTERFACE), ("hardwareAddress", LONGEST_ADDRESS)):
        if names.size(network.get(key) or "") > longest:
            out.append(too_long(f"{path}.{key}", longest))
    ips = network.get("ips") or []
    out += at_most(f"{path}.ips", ips, MOST_IPS)
    for n, text in enumerate(ips):
        if text in ips[:n]:
            out.append(duplicate(f"{path}.ips[{n}]", text))
        elif not _is_interface(text):
            out.append(invalid(f"{path}.ips[{n}]", text, _NOT_CIDR))
    return out


def _is_interface(text: str) -> bool:
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text and str(found) == text.lower()


# --- how messages show it -------------------------------------------------------------------------------------------------------------


def _shown(allocation: Obj) -> Obj:
    devices, selector = allocation.get("devices") or {}, allocation.get("nodeSelector")
    results, configs = devices.get("results"), devices.get("config")
    return {
        "Devices": {
            "Results": None if results is None else [_shown_result(r) for r in results],
            "Config": configs and [dump(c, _CONFIG, {"opaque": "Driver:driver Parameters:parameters?"}) for c in configs],
        },
        "NodeSelector": (shown_affinity({"required": selector}) or {}).get("Required"),
        "AllocationTimestamp": allocation.get("allocationTimestamp"),
    }


def _shown_result(result: Obj) -> Obj:
    shown = dump(result, _RESULT) or {}
    if shown["Tolerations"] is not None:
        shown["Tolerations"] = [dump(t, _TOLERATION) for t in shown["Tolerations"]]
    if shown["ConsumedCapacity"] is not None:
        shown["ConsumedCapacity"] = {key: quantity.canonical(value) for key, value in shown["ConsumedCapacity"].items()}
    return shown
