"""Endpoints (v1): deprecated in favour of EndpointSlice, still written and read by many."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import check_ip, named, non_special_ip, one_of, port
from pilothouse.api.errors import FieldError, Obj, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import NONE, age, more

PROTOCOLS = ("SCTP", "TCP", "UDP")
SHOWN = 3


class EndpointsStrategy(Strategy):
    allow_create_on_update = True
    deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    columns = (NAME_COLUMN, Column("Endpoints"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        for subset in obj.get("subsets") or ():
            for p in subset.get("ports") or ():
                if not p.get("protocol"):
                    p["protocol"] = "TCP"

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        for n, subset in enumerate(obj.get("subsets") or ()):
            out += _validate_subset(subset, f"subsets[{n}]")
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        found: list[str] = []
        for subset in obj.get("subsets") or ():
            addresses = [a["ip"] for a in subset.get("addresses") or ()]
            ports = subset.get("ports") or ()
            found += [f"{a}:{p['port']}" for p in ports for a in addresses] if ports else addresses
        shown = more(found[:SHOWN], len(found)) if obj.get("subsets") else NONE
        return [obj["metadata"]["name"], shown, age(obj, now)]


def _validate_subset(subset: Obj, path: str) -> list[FieldError]:
    addresses, others, ports = subset.get("addresses") or (), subset.get("notReadyAddresses") or (), subset.get("ports") or ()
    out: list[FieldError] = []
    if not addresses and not others:
        out.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for key, listed in (("addresses", addresses), ("notReadyAddresses", others)):
        for n, address in enumerate(listed):
            out += _validate_address(address, f"{path}.{key}[{n}]")
    for n, p in enumerate(ports):
        out += _validate_port(p, len(ports) > 1, f"{path}.ports[{n}]")
    return out


def _validate_address(address: Obj, path: str) -> list[FieldError]:
    ip = address.get("ip") or ""
    out = check_ip(f"{path}.ip", ip)
    if address.get("hostname"):
        out += named(f"{path}.hostname", address["hostname"], names.dns1123_label(address["hostname"]))
    if address.get("nodeName") is not None:
        out += named(f"{path}.nodeName", address["nodeName"], names.dns1123_subdomain(address["nodeName"]))
    return out + non_special_ip(f"{path}.ip", ip)


def _validate_port(p: Obj, must_have_name: bool, path: str) -> list[FieldError]:
    name = p.get("name") or ""
    out: list[FieldError] = []
    if name:
        out += named(f"{path}.name", name, names.dns1123_label(name))
    elif must_have_name:
        out.append(required(f"{path}.name"))
    out += port(f"{path}.port", p.get("port") or 0)
    out += one_of(f"{path}.protocol", p.get("protocol"), PROTOCOLS)
    if p.get("appProtocol") is not None:
        out += named(f"{path}.appProtocol", p["appProtocol"], names.qualified_name(p["appProtocol"]))
    return out
