"""What `--cloud-config` says: the INI text that the AWS cloud provider reads (sections `[Global]` and `[ServiceOverride "1"]`), or the same as YAML.

Names count without case. What is not known, or known there and not carried out here, is an error: a setting that is passed over would be
missed later. Region, EndpointURL and LeaveTypes are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import yamltext

#: Services of AWS that are called, by the names that overrides use.
SERVICES = {"ec2": "ec2", "elbv2": "elbv2", "elasticloadbalancing": "elbv2", "acm": "acm", "sts": "sts"}


_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+-[0-9]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """The provider's configuration. "" and () leave a choice to what is found in the account."""

    zone: str = ""
    region: str = ""
    vpc: str = ""
    subnet: str = ""
    route_table: str = ""
    cluster: str = ""
    role: str = ""
    role_external_id: str = ""
    #: Leave the security groups of nodes alone.
    leave_node_groups: bool = False
    #: A security group for all load balancers, instead of one made for each.
    balancer_group: str = ""
    families: tuple[str, ...] = ("ipv4",)
    #: Base URLs by `service/region` or service; "" for all others.
    endpoints: Mapping[str, str] = field(default_factory=dict)
    #: Values of the annotation aws-load-balancer-type that another controller takes care of.
    leave_types: tuple[str, ...] = ()


def parse(text: str) -> Settings:
    """The settings of a configuration's text. ValueError, in one line."""
    sections = _sections(text)
    values: dict[str, Any] = {}
    endpoints: dict[str, str] = {}
    for name, section in sections:
        if name == "global":
            values |= _global(section, endpoints)
        elif name == "serviceoverride":
            _override(section, endpoints)
        else:
            raise ValueError(f"--cloud-config: there is no section {name!r}")
    settings = Settings(**values, endpoints=endpoints)
    if settings.zone and not settings.region:
        values["region"] = region_of(settings.zone)
    return Settings(**values, endpoints=endpoints)


def region_of(zone: str) -> str:
    """The region of an availability zone (`eu-west-1a`) or of a local or wavelength zone (`us-west-2-lax-1a`)."""
    found = _REGION.match(zone)
    return found[0] if found else zone


Section = list[tuple[str, Any]]


def _sections(text: str) -> list[tuple[str, Section]]:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith(("#", ";")):
            return _ini(text) if stripped.startswith("[") else _yaml(text)
    return []


def _ini(text: str) -> list[tuple[str, Section]]:
    """Sections of `Name = value` lines; a name may come several times."""
    found: list[tuple[str, Section]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].split()[0].lower() if line[1:-1].strip() else "", []))
            continue
        name, equals, value = line.partition("=")
        if not equals or not found:
            raise ValueError(f"--cloud-config: line {number} is neither a section nor a setting")
        found[-1][1].append((name.strip(), _unquoted(value)))
    return found


def _unquoted(value: str) -> str:
    value = value.strip()
    if value.startswith('"'):
        return value[1:].partition('"')[0]
    for mark in (" ;", " #"):
        value = value.partition(mark)[0]
    return value.strip()


def _yaml(text: str) -> list[tuple[str, Section]]:
    document = yamltext.settings(text, "--cloud-config")
    if not isinstance(document, dict):
        raise ValueError("--cloud-config: it has to be a mapping")
    found: list[tuple[str, Section]] = []
    for name, value in document.items():
        several = value if isinstance(value, list) else list(value.values()) if _nested(value) else [value]
        for each in several:
            if not isinstance(each, dict):
                raise ValueError(f"--cloud-config: {name} has to be a mapping")
            found.append((str(name).lower(), list(each.items())))
    return found


def _nested(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, dict) for v in value.values())


def _words(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else str(value).split(",")
    return tuple(str(p).strip() for p in parts if str(p).strip())


def _flag(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError(f"{value!r} is neither true nor false")
    return text in ("true", "1", "yes", "on")


def _families(value: Any) -> tuple[str, ...]:
    found = tuple(w.lower() for w in _words(value))
    if not found or set(found) - {"ipv4", "ipv6"}:
        raise ValueError(f"{value!r} is not of ipv4 and ipv6")
    return found


#: Setting: the field, and how its value is read.
_GLOBAL: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "zone": ("zone", str),
    "region": ("region", str),
    "vpc": ("vpc", str),
    "subnetid": ("subnet", str),
    "routetableid": ("route_table", str),
    "rolearn": ("role", str),
    "roleexternalid": ("role_external_id", str),
    "kubernetesclustertag": ("cluster", str),
    "kubernetesclusterid": ("cluster", str),
    "disablesecuritygroupingress": ("leave_node_groups", _flag),
    "elbsecuritygroup": ("balancer_group", str),
    "nodeipfamilies": ("families", _families),
    "leavetypes": ("leave_types", _words),
}
#: Settings that change nothing here: zones are never compared with the one of this machine.
_PASSED_OVER = {"disablestrictzonecheck"}


def _global(section: Section, endpoints: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in section:
        known = name.lower()
        if known in _PASSED_OVER:
            continue
        if known == "endpointurl":
            endpoints[""] = str(value)
            continue
        if known not in _GLOBAL:
            raise ValueError(f"--cloud-config: there is no setting {name!r} in Global")
        target, read = _GLOBAL[known]
        try:
            found = read(value)
        except ValueError as error:
            raise ValueError(f"--cloud-config: {name}: {error}") from None
        repeated = isinstance(found, tuple) and target in values
        values[target] = (*values[target], *found) if repeated else found
    return values


def _override(section: Section, endpoints: dict[str, str]) -> None:
    """A service's own address, in one region or in all. Requests are signed for that region and service, and cannot be for another."""
    told = {name.lower(): str(value) for name, value in section}
    unknown = set(told) - {"service", "region", "url", "signingregion", "signingmethod", "signingname"}
    if unknown:
        raise ValueError(f"--cloud-config: there is no setting {min(unknown)!r} in ServiceOverride")
    named = told.get("service", "").lower()
    service = SERVICES.get(named)
    if service is None or not told.get("url"):
        raise ValueError(f"--cloud-config: a ServiceOverride needs a URL and a Service of {', '.join(sorted(SERVICES))}")
    region = told.get("region", "")
    for name, only in (("signingmethod", "v4"), ("signingregion", region), ("signingname", named)):
        if told.get(name, "").lower() not in ("", only):
            raise ValueError(f"--cloud-config: {name} of the ServiceOverride for {named} can only be {only or 'left out'}")
    endpoints[f"{service}/{region}" if region else service] = told["url"]
