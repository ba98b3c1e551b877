"""EndpointSlice (discovery.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import check_ip, immutable, named, non_special_ip, one_of, parse_ip, some_of
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required, too_many
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy
from pilothouse.api.table import UNSET, age, more

TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MOST_ENDPOINTS, MOST_ADDRESSES, MOST_PORTS, MOST_HINTS = 1000, 100, 20000, 8
SHOWN = 3
_VERSIONS = {"IPv4": 4, "IPv6": 6}


class EndpointSliceStrategy(Strategy):
    has_generation = True
    metadata_checked_again = frozenset(("common",))
    columns = (NAME_COLUMN, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        for port in obj.get("ports") or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        _tidy(obj)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)  # counts as a change, before it goes
        _tidy(obj)

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        """The labels count, too: they say whose endpoints these are."""
        return super().spec_changed(obj, old) or obj["metadata"].get("labels") != old["metadata"].get("labels")

    def validate(self, obj: Obj) -> list[FieldError]:
        kind, endpoints, ports = obj.get("addressType") or "", obj.get("endpoints") or [], obj.get("ports") or []
        out = one_of("addressType", kind, TYPES)
        if len(endpoints) > MOST_ENDPOINTS:
            out.append(too_many("endpoints", len(endpoints), MOST_ENDPOINTS))
        else:
            for n, endpoint in enumerate(endpoints):
                out += _validate_endpoint(endpoint, kind, f"endpoints[{n}]")
        if len(ports) > MOST_PORTS:
            return [*out, too_many("ports", len(ports), MOST_PORTS)]
        return out + _validate_ports(ports)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return self.validate(obj) + immutable("addressType", obj.get("addressType") or "", old.get("addressType"))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        ports = [str(p["port"]) if p.get("port") is not None else p.get("name", "*") for p in obj.get("ports") or ()]
        addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
        return [obj["metadata"]["name"], obj.get("addressType", ""), more(ports[:SHOWN], len(ports)) or UNSET,
                more(addresses[:SHOWN], len(addresses)) or UNSET, age(obj, now)]  # fmt: skip


def _tidy(obj: Obj) -> None:
    """`deprecatedTopology` was the older version's, and goes."""
    for endpoint in obj.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def _validate_endpoint(endpoint: Obj, kind: str, path: str) -> list[FieldError]:
    addresses = endpoint.get("addresses") or []
    out: list[FieldError] = []
    if not addresses:
        out.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MOST_ADDRESSES:
        out.append(too_many(f"{path}.addresses", len(addresses), MOST_ADDRESSES))
    else:
        for n, address in enumerate(addresses):
            out += _validate_address(address, kind, f"{path}.addresses", f"{path}.addresses[{n}]")
    if endpoint.get("nodeName") is not None:
        out += named(f"{path}.nodeName", endpoint["nodeName"], names.dns1123_subdomain(endpoint["nodeName"]))
    if endpoint.get("hostname") is not None:
        out += named(f"{path}.hostname", endpoint["hostname"], names.dns1123_label(endpoint["hostname"]))
    hints = endpoint.get("hints") or {}
    out += _validate_hints(hints.get("forZones") or [], f"{path}.hints.forZones", names.label_value)
    return out + _validate_hints(hints.get("forNodes") or [], f"{path}.hints.forNodes", names.dns1123_subdomain)


def _validate_address(address: str, kind: str, all_path: str, path: str) -> list[FieldError]:
    if kind == "FQDN":
        return named(path, address, names.dns1123_subdomain(address)) if address else [required(path)]
    if kind not in _VERSIONS:
        return []
    out = check_ip(path, address)
    if out:
        return out
    found = parse_ip(address)
    assert found is not None
    if found.version != _VERSIONS[kind]:
        out.append(invalid(all_path, address, f"must be an {kind} address"))
    if str(found) != address:
        out.append(invalid(path, address, f'must be in canonical form ("{found}")'))
    return out + non_special_ip(path, address)


def _validate_hints(hints: list[Obj], path: str, problems: Any) -> list[FieldError]:
    if len(hints) > MOST_HINTS:
        return [too_many(path, len(hints), MOST_HINTS)]
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, hint in enumerate(hints):
        name = hint.get("name") or ""
        if name in seen:
            out.append(duplicate(f"{path}[{n}].name", name))
        seen.add(name)
        out += named(f"{path}[{n}].name", name, problems(name))
    return out


def _validate_ports(ports: list[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, port in enumerate(ports):
        path, name = f"ports[{n}]", port.get("name") or ""
        if name:
            out += named(f"{path}.name", name, names.dns1123_label(name))
        if name in seen:
            out.append(duplicate(f"{path}.name", name))
        seen.add(name)
        out += some_of(f"{path}.protocol", port.get("protocol") or "", PROTOCOLS)
        if port.get("appProtocol") is not None:
            out += named(f"{path}.appProtocol", port["appProtocol"], names.qualified_name(port["appProtocol"]))
    return out
