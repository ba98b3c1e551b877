"""Checks of single values that many kinds share: addresses, ranges, ports, resource lists. Each returns what is wrong, nothing when all is well.

Addresses and ranges are read strictly, as new values must be (API conventions: "IP addresses and CIDRs"); values that an object had
before are not looked at again, which is up to the kinds' update rules.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"

_LEADING_ZERO = re.compile(r"(?<![0-9a-fA-F:])0+(?=[0-9])")


@functools.lru_cache(maxsize=4096)
def parse_ip(text: str) -> Address | None:
    """The address, also where its decimals have leading zeros; None if it is none."""
    if "%" in text or "/" in text:
        return None
    try:
        return ipaddress.ip_address(_LEADING_ZERO.sub("", text) if ":" not in text else text)
    except ValueError:
        return None


def ip_problems(text: str) -> tuple[str, ...]:
    """What is wrong with a new IP address."""
    address = parse_ip(text)
    if address is None:
        return (NOT_AN_IP,)
    if ":" not in text and _LEADING_ZERO.search(text):
        return ("must not have leading 0s",)
    if getattr(address, "ipv4_mapped", None) is not None:
        return ("must not be an IPv4-mapped IPv6 address",)
    return ()


def check_ip(path: str, text: str) -> list[FieldError]:
    """Errors of a new IP address."""
    return [invalid(path, text, m) for m in ip_problems(text)]


@functools.lru_cache(maxsize=4096)
def parse_cidr(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    """The range with its address as written, also where there are leading zeros; None if it is none."""
    head, slash, length = text.partition("/")
    address = parse_ip(head)
    if address is None or not slash or not (length.isascii() and length.isdigit()) or int(length) > address.max_prefixlen:
        return None
    return ipaddress.ip_interface(f"{address}/{int(length)}")


def cidr_problems(text: str) -> tuple[str, ...]:
    """What is wrong with a new range of addresses."""
    found = parse_cidr(text)
    if found is None:
        return (NOT_A_CIDR,)
    head, _, length = text.partition("/")
    if (":" not in head and _LEADING_ZERO.search(head)) or (length != "0" and length.startswith("0")):
        return ("must not have leading 0s in IP or prefix length",)
    if getattr(found.ip, "ipv4_mapped", None) is not None:
        return ("must not have an IPv4-mapped IPv6 address",)
    if found.ip != found.network.network_address:
        return ("must not have bits set beyond the prefix length",)
    return ()


def check_cidr(path: str, text: str, strict: bool = True) -> list[FieldError]:
    """Errors of a range of addresses; not `strict`: of one that was there before, or whose form nobody minds."""
    problems = cidr_problems(text)
    return [invalid(path, text, m) for m in problems if strict or m == NOT_A_CIDR]


def non_special_ip(path: str, text: str) -> list[FieldError]:
    """Errors of an address that must be reachable by others: no loopback, link-local or unspecified one."""
    address = parse_ip(text)
    if address is None:
        return [invalid(path, text, "must be a valid IP address")]
    out: list[FieldError] = []
    if address.is_unspecified:
        out.append(invalid(path, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        out.append(invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        out.append(invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if _link_local_multicast(address):
        out.append(invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
    return out


def _link_local_multicast(address: Address) -> bool:
    packed = address.packed
    return packed[:3] == b"\xe0\x00\x00" if len(packed) == 4 else packed[0] == 0xFF and packed[1] & 0x0F == 2


def one_per_family(path: str, values: list[str], what: str, parsed: Iterable[Any]) -> list[FieldError]:
    """At most one value for each of IPv4 and IPv6, two in all."""
    versions = [p.version for p in parsed]
    if len(versions) > len(set(versions)):
        return [invalid(path, values, f"may specify no more than one {what} for each IP family")]
    return []


# --- numbers and choices ---------------------------------------------------------------------------------------------------------


def non_negative(path: str, value: int | None) -> list[FieldError]:
    return [invalid(path, value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def port(path: str, value: int) -> list[FieldError]:
    """Errors of a port number."""
    return [invalid(path, value, m) for m in names.port_number(value)]


def one_of(path: str, value: str | None, supported: tuple[str, ...]) -> list[FieldError]:
    """A choice that must be made."""
    if not value:
        return [required(path)]
    return [] if value in supported else [not_supported(path, value, supported)]


def some_of(path: str, value: str, supported: tuple[str, ...]) -> list[FieldError]:
    """A choice, an empty one being a wrong one."""
    return [] if value in supported else [not_supported(path, value, supported)]


def immutable(path: str, new: Any, old: Any, shown: Any = None) -> list[FieldError]:
    """The field may not change; `shown` is how messages show the new value where that differs from its JSON."""
    if (new or None) == (old or None):
        return []
    return [invalid(path, new if shown is None else shown, IMMUTABLE)]


def named(path: str, value: str, problems: Iterable[str]) -> list[FieldError]:
    """One error for each problem that a name check found."""
    return [invalid(path, value, m) for m in problems]


# --- resource lists --------------------------------------------------------------------------------------------------------------

#: Resources that are counted in whole ones.
_WHOLE = frozenset(("pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
                    "services.nodeports", "services.loadbalancers"))  # fmt: skip
#: Resources that quotas know by these names.
FOR_QUOTA = _WHOLE | {"cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
                      "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage"}  # fmt: skip
STANDARD = FOR_QUOTA | {"storage"}
FOR_CONTAINERS = frozenset(("cpu", "memory", "ephemeral-storage"))
_HUGE = ("hugepages-", "requests.hugepages-")


def is_whole(resource: str) -> bool:
    """Whether a resource is counted in whole ones: objects, and extended resources (example.com/gpu)."""
    return resource in _WHOLE or is_extended(resource)


def is_extended(resource: str) -> bool:
    """Whether it is a resource of somebody else's, with a domain."""
    return "/" in resource and "kubernetes.io/" not in resource and not resource.startswith("requests.")


def quantity_value(path: str, resource: str, value: str) -> list[FieldError]:
    """Errors of how much of a resource there is."""
    out: list[FieldError] = []
    nano = quantity.parse(value).nano
    if nano < 0:
        out.append(invalid(path, value, NOT_NEGATIVE))
    if is_whole(resource) and nano % quantity.NANO:
        out.append(invalid(path, value, "must be an integer"))
    return out


def positive_quantity(path: str, value: str) -> list[FieldError]:
    return [] if quantity.sign(value) > 0 else [invalid(path, value, "must be greater than zero")]


def resource_name(path: str, name: str) -> list[FieldError]:
    """Errors of a resource's name: a qualified name, a standard one where it has no domain."""
    out = named(path, name, names.qualified_name(name))
    if not out and "/" not in name and name not in STANDARD and not name.startswith(_HUGE):
        out.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return out


def quota_resource_name(path: str, name: str) -> list[FieldError]:
    out = resource_name(path, name)
    if "/" not in name and name not in FOR_QUOTA and not name.startswith(_HUGE):
        out.append(invalid(path, name, "must be a standard resource for quota"))
    return out


def container_resource_name(path: str, name: str) -> list[FieldError]:
    out = resource_name(path, name)
    if "/" not in name:
        if name not in FOR_CONTAINERS and not name.startswith("hugepages-"):
            out.append(invalid(path, name, "must be a standard resource for containers"))
    elif "kubernetes.io/" not in name and not is_extended(name):
        out.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return out


def forbid(path: str, present: Any, why: str) -> list[FieldError]:
    """The field may not be there."""
    return [forbidden(path, why)] if present else []


# --- how the reference server shows objects in messages ----------------------------------------------------------------------------


def object_reference(ref: Obj | None) -> Obj | None:
    """An ObjectReference as messages show it: every field, under the names of its internal form."""
    if ref is None:
        return None
    return {"Kind": ref.get("kind", ""), "Namespace": ref.get("namespace", ""), "Name": ref.get("name", ""), "UID": ref.get("uid", ""),
            "APIVersion": ref.get("apiVersion", ""), "ResourceVersion": ref.get("resourceVersion", ""),
            "FieldPath": ref.get("fieldPath", "")}  # fmt: skip


# --- shapes that several kinds have ---------------------------------------------------------------------------------------------------

_PERCENT = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?").fullmatch
_REASON_TEXT = ("a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', "
                "and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  "
                "or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')")  # fmt: skip


def int_or_percent(path: str, value: int | str) -> list[FieldError]:
    """A number that is not negative, or a percentage of at most 100."""
    if isinstance(value, int):
        return non_negative(path, value)
    if not re.fullmatch("[0-9]+%", value):
        return [invalid(path, value, _PERCENT)]
    return [invalid(path, value, "must not be greater than 100%")] if int(value[:-1]) > 100 else []


def conditions(path: str, found: Iterable[Obj]) -> list[FieldError]:
    """Errors of a list of conditions of the common form (API conventions: "Typical status properties")."""
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, condition in enumerate(found):
        out += _condition(f"{path}[{n}]", condition)
        if condition.get("type", "") in seen:
            out.append(FieldError("FieldValueDuplicate", f"{path}[{n}].type", condition["type"]))
        seen.add(condition.get("type", ""))
    return out


def _condition(path: str, c: Obj) -> list[FieldError]:
    kind, reason = c.get("type") or "", c.get("reason") or ""
    out = [] if kind else [required(f"{path}.type")]
    out += named(f"{path}.type", kind, names.qualified_name(kind))
    out += some_of(f"{path}.status", c.get("status") or "", ("False", "True", "Unknown"))
    out += non_negative(f"{path}.observedGeneration", c.get("observedGeneration"))
    if not c.get("lastTransitionTime"):
        out.append(required(f"{path}.lastTransitionTime"))
    if not reason:
        out.append(required(f"{path}.reason"))
    elif not _REASON(reason):
        out.append(invalid(f"{path}.reason", reason, _REASON_TEXT))
    return out
