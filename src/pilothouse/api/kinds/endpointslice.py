"""EndpointSlice (discovery.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required, too_many
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age, more

_TYPES = ("FQDN", "IPv4", "IPv6")
SHOWN = 3


class EndpointSliceStrategy(Strategy):
    has_generation = True
    columns = (NAME_COLUMN, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        for port in obj.get("ports") or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        kind = obj.get("addressType") or ""
        if not kind:
            out.append(required("addressType"))
        elif kind not in _TYPES:
            out.append(not_supported("addressType", kind, _TYPES))
        endpoints = obj.get("endpoints") or []
        if len(endpoints) > 1000:
            out.append(too_many("endpoints", len(endpoints), 1000))
        out += [
            required(f"endpoints[{n}].addresses", "must contain at least 1 address")
            for n, e in enumerate(endpoints)
            if not e.get("addresses")
        ]
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        if obj.get("addressType") != old.get("addressType"):
            out.append(invalid("addressType", obj.get("addressType"), "field is immutable"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
        addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
        return [obj["metadata"]["name"], obj.get("addressType", ""), more(ports[:SHOWN], len(ports)) if ports else "<unset>",
                more(addresses[:SHOWN], len(addresses)) if addresses else "<unset>", age(obj, now)]  # fmt: skip
