"""One device of a ResourceSlice: its attributes, taints, counters and where it can be used from (API reference: Device)."""

from __future__ import annotations

import re

from pilothouse.api import names
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required, too_long
from pilothouse.api.internal_form import dump
from pilothouse.api.kinds.devicecapacity import validate_consumption, validate_policy
from pilothouse.api.kinds.devicerequests import at_most, validate_bindings
from pilothouse.api.kinds.nodeselector import shown_affinity, validate_node_selector

LONGEST_VALUE = 64
MOST_ATTRIBUTES, MOST_TAINTS = 32, 16
_VALUES = "IntValue:int? BoolValue:bool? StringValue:string? VersionValue:version? IntValues:ints? BoolValues:bools? " \
          "StringValues:strings? VersionValues:versions?"  # fmt: skip
_KEYS = tuple(field.partition(":")[2][:-1] for field in _VALUES.split())
_LISTS = ("ints", "bools", "strings", "versions")
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
).fullmatch
_PLACES = ("nodeName", "nodeSelector", "allNodes")
_NOT_HERE = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
_HERE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def drop_disabled(spec: Obj, old: Obj) -> None:
    """Forget what gates DRAListTypeAttributes and DRANodeAllocatableResources, both off, would let in, unless it was there before."""
    keep_lists = any(_lists(device) for device in old.get("devices") or ())
    keep_mappings = any(device.get("nodeAllocatableResourceMappings") for device in old.get("devices") or ())
    for device in spec.get("devices") or ():
        if not keep_lists:
            for attribute in _lists(device):
                for key in _LISTS:
                    attribute.pop(key, None)
        if not keep_mappings:
            device.pop("nodeAllocatableResourceMappings", None)


def _lists(device: Obj) -> list[Obj]:
    """Attributes with several values."""
    return [value for value in (device.get("attributes") or {}).values() if value and any(value.get(key) for key in _LISTS)]


def validate_device(device: Obj, path: str, own_place: bool) -> list[FieldError]:
    """Errors of a device; `own_place`: each device says where it can be used from."""
    name = device.get("name") or ""
    out = named(f"{path}.name", name, names.dns1123_label(name))
    many = len(device.get("attributes") or ()) + len(device.get("capacity") or ())
    if many > MOST_ATTRIBUTES:
        out.append(invalid(path, many, f"the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}"))
    for key, value in (device.get("attributes") or {}).items():
        out += _qualified(key, f"{path}.attributes") + _validate_value(value, f"{path}.attributes[{key}]")
    for key, capacity in (device.get("capacity") or {}).items():
        out += _qualified(key, f"{path}.capacity")
        out += validate_policy(capacity, bool(device.get("allowMultipleAllocations")), f"{path}.capacity[{key}].requestPolicy")
    out += at_most(f"{path}.taints", device.get("taints") or (), MOST_TAINTS)
    for n, taint in enumerate(device.get("taints") or ()):
        out += _validate_taint(taint, f"{path}.taints[{n}]")
    out += validate_consumption(device.get("consumesCounters") or [], f"{path}.consumesCounters")
    return out + validate_bindings(device, path) + _validate_place(device, path, own_place)


def _qualified(key: str, path: str) -> list[FieldError]:
    domain, slash, identifier = key.rpartition("/")
    out = named(path, domain, names.dns1123_subdomain(domain)) if slash else []
    return out + named(path, identifier, names.c_identifier(identifier))


def _validate_value(value: Obj, path: str) -> list[FieldError]:
    found = [key for key in _KEYS if value.get(key) is not None]
    if len(found) != 1:
        return [invalid(path, dump(value, _VALUES) if found else "", "exactly one value must be specified")]
    text = value[found[0]]
    if found[0] not in ("string", "version"):
        return []
    out = [too_long(f"{path}.{found[0]}", LONGEST_VALUE)] if names.size(text) > LONGEST_VALUE else []
    if found[0] == "version" and not _SEMVER(text):
        out.append(invalid(f"{path}.version", text, "must be a string compatible with semver.org spec 2.0.0"))
    return out


def _validate_taint(taint: Obj, path: str) -> list[FieldError]:
    key, value, effect = taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""
    out = named(f"{path}.key", key, names.qualified_name(key))
    if value:
        out += named(f"{path}.value", value, names.label_value(value))
    if not effect:
        return [*out, required(f"{path}.effect")]
    return out if effect in _EFFECTS else [*out, not_supported(f"{path}.effect", effect, _EFFECTS)]


def _validate_place(device: Obj, path: str, own_place: bool) -> list[FieldError]:
    found = [key for key in _PLACES if device.get(key) is not None]
    if not own_place:
        return [invalid(path, None, _NOT_HERE)] if found else []
    out: list[FieldError] = []
    if (node := device.get("nodeName")) is not None:
        told = names.dns1123_subdomain(node) if node else ["must not be empty"]
        out += named(f"{path}.nodeName", node, told)
    if device.get("nodeSelector") is not None:
        out += validate_one_term(device["nodeSelector"], f"{path}.nodeSelector")
    if device.get("allNodes") is False:
        out.append(invalid(f"{path}.allNodes", False, "must be either unset or set to true"))
        found.remove("allNodes")
    if not found:
        return [*out, required(path, _HERE)]
    shown = "{" + ", ".join(f"`{key}`" for key in found) + "}"
    return [*out, invalid(path, shown, _HERE)] if len(found) > 1 else out


def validate_one_term(selector: Obj, path: str) -> list[FieldError]:
    """Errors of a selector of nodes with a single term."""
    out = validate_node_selector(selector, path)
    if len(selector.get("nodeSelectorTerms") or ()) != 1:
        shown = (shown_affinity({"required": selector}) or {})["Required"]["NodeSelectorTerms"]
        out.append(invalid(f"{path}.nodeSelectorTerms", shown, "must have exactly one node selector term"))
    return out
