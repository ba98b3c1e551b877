"""Endpoints (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age, more

SHOWN = 3


class EndpointsStrategy(Strategy):
    allow_create_on_update = True
    columns = (NAME_COLUMN, Column("Endpoints"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        for n, subset in enumerate(obj.get("subsets") or ()):
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                out.append(required(f"subsets[{n}]", "must specify `addresses` or `notReadyAddresses`"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        found: list[str] = []
        for subset in obj.get("subsets") or ():
            addresses = [a["ip"] for a in subset.get("addresses") or ()]
            ports = subset.get("ports") or ()
            found += [f"{a}:{p['port']}" for p in ports for a in addresses] if ports else addresses
        return [obj["metadata"]["name"], more(found[:SHOWN], len(found)) if found else "<none>", age(obj, now)]
