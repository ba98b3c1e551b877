"""NetworkPolicy: who may talk to whom."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import check_cidr, named, parse_cidr, port, some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, required
from pilothouse.api.selectors import selector_text, validate_label_selector
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

_DIRECTIONS = (("ingress", "from"), ("egress", "to"))
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")


class NetworkPolicyStrategy(Strategy):
    has_generation = True
    columns = (NAME_COLUMN, Column("Pod-Selector"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        for direction, _ in _DIRECTIONS:
            for rule in spec.get(direction) or ():
                for entry in rule.get("ports") or ():
                    entry.setdefault("protocol", "TCP")
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out = validate_label_selector(spec["podSelector"], "spec.podSelector")
        for direction, peers in _DIRECTIONS:
            for n, rule in enumerate(spec.get(direction) or ()):
                path = f"spec.{direction}[{n}]"
                for m, entry in enumerate(rule.get("ports") or ()):
                    out += _validate_port(entry, f"{path}.ports[{m}]")
                for m, peer in enumerate(rule.get(peers) or ()):
                    out += _validate_peer(peer, f"{path}.{peers}[{m}]")
        types = spec["policyTypes"]
        if len(types) > len(_TYPES):
            return [*out, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
        for n, kind in enumerate(types):
            out += some_of(f"spec.policyTypes[{n}]", kind, _TYPES)
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), selector_text((obj.get("spec") or {}).get("podSelector")), table.age(obj, now)]


def _validate_port(entry: Obj, path: str) -> list[FieldError]:
    out = some_of(f"{path}.protocol", entry["protocol"], _PROTOCOLS)
    value, end = entry.get("port"), entry.get("endPort")
    if isinstance(value, str):
        out += named(f"{path}.port", value, names.port_name(value))
    elif value is not None:
        out += port(f"{path}.port", value)
    if end is None:
        return out
    if value is None:
        out.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(value, str):
        out.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
    else:
        if end < value:
            out.append(invalid(f"{path}.endPort", value, "must be greater than or equal to `port`"))
        out += port(f"{path}.endPort", end)
    return out


def _validate_peer(peer: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            out += validate_label_selector(peer[key], f"{path}.{key}")
    block = peer.get("ipBlock")
    if block is not None:
        out += _validate_block(block, f"{path}.ipBlock")
    present = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    if not present:
        out.append(required(path, "must specify a peer"))
    elif block is not None and len(present) > 1:
        out.append(forbidden(path, "may not specify both ipBlock and another peer"))
    return out


def _validate_block(block: Obj, path: str) -> list[FieldError]:
    text = block.get("cidr") or ""
    if not text:
        return [required(f"{path}.cidr")]
    out = check_cidr(f"{path}.cidr", text)
    whole = parse_cidr(text)
    for n, excepted in enumerate(block.get("except") or ()):
        where, part = f"{path}.except[{n}]", parse_cidr(excepted)
        out += check_cidr(where, excepted)
        if whole is not None and part is not None and not _is_inside(part.network, whole.network):
            out.append(invalid(where, excepted, "must be a strict subset of `cidr`"))
    return out


def _is_inside(part: Any, whole: Any) -> bool:
    return part.version == whole.version and part.subnet_of(whole) and part.prefixlen > whole.prefixlen
