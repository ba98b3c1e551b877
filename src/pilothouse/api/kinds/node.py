"""Node (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import check_cidr, named, one_of, parse_cidr, quantity_value
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Path, Strategy
from pilothouse.api.table import NONE, UNKNOWN, age

ROLE = "node-role.kubernetes.io/"
OLD_ROLE = "kubernetes.io/role"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class NodeStrategy(Strategy):
    selectable = ("spec.unschedulable",)
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Status"), Column("Roles"), AGE_COLUMN, Column("Version"), Column("Internal-IP", priority=1),
               Column("External-IP", priority=1), Column("OS-Image", priority=1), Column("Kernel-Version", priority=1),
               Column("Container-Runtime", priority=1))  # fmt: skip

    def default(self, obj: Obj) -> None:
        """The one podCIDR and the first of the list are the same; what the kubelet has is at most what it can give away."""
        spec, status = obj.setdefault("spec", {}), obj.get("status") or {}
        one, many = spec.get("podCIDR"), spec.get("podCIDRs")
        if one and (not many or many[0] != one):
            spec["podCIDRs"] = [one]
        elif many and not one:
            spec["podCIDR"] = many[0]
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """A kubelet brings its status along: it stays. Its configuration's source is a thing of the past."""
        status = obj.get("status")
        super().prepare_create(obj, ctx)
        if status is not None:
            obj["status"] = status
        _drop_gone(obj)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)
        _drop_gone(obj)

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        _drop_gone(obj)

    def validate(self, obj: Obj) -> list[FieldError]:
        out = _validate_taints((obj.get("spec") or {}).get("taints") or [])
        out += _validate_resources((obj.get("status") or {}).get("capacity") or {}, "status.capacity")
        out += _validate_resources((obj.get("status") or {}).get("allocatable") or {}, "status.allocatable")
        return out + _validate_pod_cidrs((obj.get("spec") or {}).get("podCIDRs") or [])

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        spec, was = obj.get("spec") or {}, old.get("spec") or {}
        out = self.validate(obj) + _validate_addresses((obj.get("status") or {}).get("addresses") or [])
        if was.get("podCIDRs") and was["podCIDRs"] != spec.get("podCIDRs"):
            out.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
        if was.get("providerID") and was["providerID"] != spec.get("providerID"):
            out.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
        return out + _validate_taints(spec.get("taints") or [])

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        status = obj.get("status") or {}
        out = _validate_resources(status.get("capacity") or {}, "status.capacity")
        out += _validate_resources(status.get("allocatable") or {}, "status.allocatable")
        return out + _validate_addresses(status.get("addresses") or [])

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        status, meta = obj.get("status") or {}, obj["metadata"]
        address = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
        info = status.get("nodeInfo") or {}
        kernel = info.get("kernelVersion")
        if kernel and info.get("architecture"):
            kernel = f"{kernel} ({info['architecture']})"
        return [meta["name"], _state(obj), _roles(meta.get("labels") or {}), age(obj, now), info.get("kubeletVersion", ""),
                address.get("InternalIP", NONE), address.get("ExternalIP", NONE), info.get("osImage") or UNKNOWN, kernel or UNKNOWN,
                info.get("containerRuntimeVersion") or UNKNOWN]  # fmt: skip


def _state(obj: Obj) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    told = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return told + ",SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else told


def _roles(labels: dict[str, str]) -> str:
    roles = {k.removeprefix(ROLE) for k in labels if k.startswith(ROLE) and k != ROLE}
    if labels.get(OLD_ROLE):
        roles.add(labels[OLD_ROLE])
    return ",".join(sorted(roles)) or NONE


def _drop_gone(obj: Obj) -> None:
    """Without what kubelets no longer have. Spec and status may be shared with the old object: they are replaced, not changed."""
    for part, field in (("spec", "configSource"), ("status", "config")):
        found = obj.get(part)
        if found and field in found:
            obj[part] = {k: v for k, v in found.items() if k != field}


def _validate_taints(taints: list[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for n, taint in enumerate(taints):
        path, key, effect = f"metadata.taints[{n}]", taint.get("key") or "", taint.get("effect") or ""
        out += named(f"{path}.key", key, names.qualified_name(key))
        out += named(f"{path}.value", taint.get("value") or "", names.label_value(taint.get("value") or ""))
        out += one_of(f"{path}.effect", effect, _EFFECTS)
        if (key, effect) in seen:
            shown = {"Key": key, "Value": taint.get("value", ""), "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            out.append(FieldError("FieldValueDuplicate", path, shown, "taints must be unique by key and effect pair"))
        seen.add((key, effect))
    return out


def _validate_resources(resources: dict[str, str], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for name, value in resources.items():
        out += named(f"{path}.{name}", name, names.qualified_name(name)) + quantity_value(f"{path}.{name}", name, value)
    return out


def _validate_pod_cidrs(cidrs: list[str]) -> list[FieldError]:
    path = "spec.podCIDRs"
    out: list[FieldError] = []
    for n, cidr in enumerate(cidrs):
        out += check_cidr(f"{path}[{n}]", cidr)
    parsed = [parse_cidr(c) for c in cidrs]
    if len(cidrs) < 2:
        return out
    for n, found in enumerate(parsed):
        if found is None:
            told = f"invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{n}]: <nil> (invalid CIDR address: {cidrs[n]})"
            out.append(FieldError("InternalError", path, detail=told))
            break
    if len({p.version for p in parsed if p is not None}) != len(cidrs):
        out.append(invalid(path, cidrs, "may specify no more than one CIDR for each IP family"))
    return out


def _validate_addresses(addresses: list[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for n, address in enumerate(addresses):
        key = (address.get("type") or "", address.get("address") or "")
        if key in seen:
            out.append(duplicate(f"status.addresses[{n}]", {"Type": key[0], "Address": key[1]}))
        seen.add(key)
    return out
