"""APIService: which server answers for a group and version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context

HIGHEST_GROUP, HIGHEST_VERSION = 20_000, 1000


class APIServiceStrategy(StatusOnly):
    allow_unconditional_update = False
    columns = (NAME_COLUMN, Column("Service"), Column("Available"), AGE_COLUMN)

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.path_segment(name, prefix)

    def default(self, obj: Obj) -> None:
        service = (obj.get("spec") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """What this server answers for itself is available from the start."""
        super().prepare_create(obj, ctx)
        if (obj.get("spec") or {}).get("service") is None:
            condition = {
                "type": "Available",
                "status": "True",
                "lastTransitionTime": dt.datetime.fromtimestamp(ctx.now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "reason": "Local",
                "message": "Local APIServices are always available",
            }
            obj["status"] = {"conditions": [condition]}

    def name_rule(self, obj: Obj) -> Callable[[str, bool], list[str]]:
        wanted = _wanted_name(obj)
        told = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        return lambda name, prefix: self.validate_name(name, prefix) or ([told] if name != wanted else [])

    def validate(self, obj: Obj) -> list[FieldError]:
        return _validate_spec(obj.get("spec") or {})

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        name = obj["metadata"]["name"]
        return named("metadata.name", name, self.name_rule(obj)(name, False)) + self.validate(obj)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        service = (obj.get("spec") or {}).get("service")
        where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
        return [table.name_of(obj), where, _availability(obj), table.age(obj, now)]


def _wanted_name(obj: Obj) -> str:
    spec = obj.get("spec") or {}
    return f"{spec.get('version') or ''}.{spec.get('group') or ''}"


def _availability(obj: Obj) -> str:
    """Whether the server answers, and why not."""
    found: Obj | None = next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Available"), None)
    if found is None:
        return "Unknown"
    status: str = found.get("status", "")
    return status if status == "True" else f"{status} ({found.get('reason', '')})"


def _validate_spec(spec: Obj) -> list[FieldError]:
    group, version = spec.get("group") or "", spec.get("version") or ""
    out: list[FieldError] = []
    if group:
        out += named("spec.group", group, names.dns1123_subdomain(group))
    elif version != "v1":
        out.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    out += named("spec.version", version, names.dns1035_label(version))
    for key, most in (("groupPriorityMinimum", HIGHEST_GROUP), ("versionPriority", HIGHEST_VERSION)):
        value = spec.get(key) or 0
        if not 0 < value <= most:
            out.append(invalid(f"spec.{key}", value, f"must be positive and less than {most}"))
    return out + _validate_server(spec)


def _validate_server(spec: Obj) -> list[FieldError]:
    """Which server answers, and how it is trusted."""
    service, insecure, bundle = spec.get("service"), bool(spec.get("insecureSkipTLSVerify")), spec.get("caBundle") or ""
    out: list[FieldError] = []
    if service is None:
        if bundle:
            out.append(invalid("spec.caBundle", bundle, "local APIServices may not have a caBundle"))
        if insecure:
            out.append(invalid("spec.insecureSkipTLSVerify", insecure, "local APIServices may not have insecureSkipTLSVerify"))
        return out
    out += [required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    port = service.get("port", 443)
    out += named("spec.service.port", port, [f"port is not valid: {m}" for m in names.port_number(port)])
    if insecure and bundle:
        out.append(invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present"))
    return out
