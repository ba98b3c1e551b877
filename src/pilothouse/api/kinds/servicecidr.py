"""ServiceCIDR and IPAddress: ranges that services get their addresses from, and the addresses taken."""

from __future__ import annotations

from typing import Any

from pilothouse.api import checks, names, table
from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class ServiceCIDRStrategy(StatusOnly):
    columns = (NAME_COLUMN, Column("CIDRs"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        return _validate_ranges((obj.get("spec") or {}).get("cidrs") or [])

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        """A range of the other family may be added; nothing else changes."""
        new, before = (((o.get("spec") or {}).get("cidrs")) for o in (obj, old))
        cidrs, had = new or [], before or []
        if len(cidrs) < len(had):
            return [invalid("spec.cidrs", new, checks.IMMUTABLE)]
        out = [
            invalid(f"spec.cidrs[{n}]", now, checks.IMMUTABLE)
            for n, (now, was) in enumerate(zip(cidrs, had, strict=False))
            if now != was
        ]
        return out if out or len(cidrs) == len(had) else _validate_ranges(cidrs)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), table.age(obj, now)]


class IPAddressStrategy(Strategy):
    columns = (NAME_COLUMN, Column("ParentRef"))

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        """The name is the address."""
        problems = checks.ip_problems(name)
        address = checks.parse_ip(name)
        if problems or address is None or str(address) == name:
            return list(problems)
        return [f'must be in canonical form ("{address}")']

    def validate(self, obj: Obj) -> list[FieldError]:
        ref = (obj.get("spec") or {}).get("parentRef")
        return [required("spec.parentRef")] if ref is None else _validate_parent(ref, "spec.parentRef")

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        ref, before = ((o.get("spec") or {}).get("parentRef") for o in (obj, old))
        out = self.validate(obj)
        return out if ref == before else [*out, invalid("spec.parentRef", _shown_parent(ref), checks.IMMUTABLE)]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        """The age has no column of its own; it comes after the last one all the same, as clients are used to."""
        ref = (obj.get("spec") or {}).get("parentRef") or {}
        resource = f"{ref.get('resource', '')}.{ref['group']}" if ref.get("group") else ref.get("resource", "")
        where = "/".join(part for part in (resource, ref.get("namespace"), ref.get("name")) if part)
        return [table.name_of(obj), where, table.age(obj, now)]


def _validate_ranges(cidrs: list[str]) -> list[FieldError]:
    path = "spec.cidrs"
    if not cidrs:
        return [required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid(path, {"CIDRs": cidrs}, "may only hold up to 2 values")]
    parsed = [checks.parse_cidr(c) for c in cidrs]
    out: list[FieldError] = []
    if len(cidrs) == 2 and None not in parsed and len({p.version for p in parsed if p}) == 1:
        told = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        out.append(invalid(path, cidrs, told))
    for n, (text, found) in enumerate(zip(cidrs, parsed, strict=True)):
        wrong = checks.check_cidr(f"{path}[{n}]", text)
        if not wrong and found is not None and str(found.network) != text:
            wrong = [invalid(f"{path}[{n}]", text, f'must be in canonical form ("{found.network}")')]
        out += wrong
    return out


def _validate_parent(ref: Obj, path: str) -> list[FieldError]:
    group, out = ref.get("group") or "", []
    if group:
        out += checks.named(f"{path}.group", group, names.dns1123_subdomain(group))
    for key in ("resource", "name"):
        value = ref.get(key) or ""
        out += checks.named(f"{path}.{key}", value, names.path_segment(value)) if value else [required(f"{path}.{key}")]
    namespace = ref.get("namespace") or ""
    return out + checks.named(f"{path}.namespace", namespace, names.path_segment(namespace))


def _shown_parent(ref: Obj | None) -> Obj | None:
    if ref is None:
        return None
    return {
        "Group": ref.get("group", ""),
        "Resource": ref.get("resource", ""),
        "Namespace": ref.get("namespace", ""),
        "Name": ref.get("name", ""),
    }
