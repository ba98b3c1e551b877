"""ServiceCIDR and IPAddress: ranges that services get their addresses from, and the addresses taken."""

from __future__ import annotations

from typing import Any

from pilothouse.api import checks, table
from pilothouse.api.errors import Obj
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class ServiceCIDRStrategy(StatusOnly):
    columns = (NAME_COLUMN, Column("CIDRs"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), table.age(obj, now)]


class IPAddressStrategy(Strategy):
    columns = (NAME_COLUMN, Column("ParentRef"))

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        """The name is the address."""
        return list(checks.ip_problems(name))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        """The age has no column of its own; it comes after the last one all the same, as clients are used to."""
        ref = (obj.get("spec") or {}).get("parentRef") or {}
        resource = f"{ref.get('resource', '')}.{ref['group']}" if ref.get("group") else ref.get("resource", "")
        where = "/".join(part for part in (resource, ref.get("namespace"), ref.get("name")) if part)
        return [table.name_of(obj), where, table.age(obj, now)]
