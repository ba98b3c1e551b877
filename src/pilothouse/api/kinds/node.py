"""Node (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_supported, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Path, Strategy
from pilothouse.api.table import age

ROLE = "node-role.kubernetes.io/"
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


class NodeStrategy(Strategy):
    selectable = ("spec.unschedulable",)
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Status"), Column("Roles"), AGE_COLUMN, Column("Version"), Column("Internal-IP", priority=1),
               Column("External-IP", priority=1), Column("OS-Image", priority=1), Column("Kernel-Version", priority=1),
               Column("Container-Runtime", priority=1))  # fmt: skip

    def prepare_create(self, obj: Obj, ctx: Any) -> None:
        """A kubelet brings its status along: it stays."""
        _default_allocatable(obj)

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Any) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        _default_allocatable(obj)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        seen: set[tuple[str, str]] = set()
        for n, t in enumerate((obj.get("spec") or {}).get("taints") or ()):
            path = f"spec.taints[{n}]"
            out += [invalid(f"{path}.key", t.get("key") or "", m) for m in names.qualified_name(t.get("key") or "")]
            out += [invalid(f"{path}.value", t.get("value") or "", m) for m in names.label_value(t.get("value") or "")]
            if not t.get("effect"):
                out.append(required(f"{path}.effect"))
            elif t["effect"] not in _EFFECTS:
                out.append(not_supported(f"{path}.effect", t["effect"], _EFFECTS))
            if (t.get("key", ""), t.get("effect", "")) in seen:
                out.append(duplicate(path, t))
            seen.add((t.get("key", ""), t.get("effect", "")))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        was, now = (old.get("spec") or {}).get("podCIDRs"), (obj.get("spec") or {}).get("podCIDRs")
        if was and was != now:
            out.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
        if (old.get("spec") or {}).get("providerID") not in (None, (obj.get("spec") or {}).get("providerID")):
            out.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
        return out

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        status, meta = obj.get("status") or {}, obj["metadata"]
        ready = next((c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"), "Unknown")
        told = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown") if status.get("conditions") else "Unknown"
        if (obj.get("spec") or {}).get("unschedulable"):
            told += ",SchedulingDisabled"
        roles = sorted(k.removeprefix(ROLE) for k in meta.get("labels") or () if k.startswith(ROLE))
        address = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
        info = status.get("nodeInfo") or {}
        return [meta["name"], told, ",".join(roles) or "<none>", age(obj, now), info.get("kubeletVersion", ""),
                address.get("InternalIP", "<none>"), address.get("ExternalIP", "<none>"), info.get("osImage") or "<unknown>",
                info.get("kernelVersion") or "<unknown>", info.get("containerRuntimeVersion") or "<unknown>"]  # fmt: skip


def _default_allocatable(obj: Obj) -> None:
    status = obj.get("status") or {}
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])
