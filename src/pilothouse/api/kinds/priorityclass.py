"""PriorityClass (scheduling.k8s.io/v1). That only one may be the global default, and that the system's own stay, is admission's business."""

from __future__ import annotations

from typing import Any

from pilothouse.api.checks import immutable, one_of
from pilothouse.api.errors import FieldError, Obj, forbidden
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age

SYSTEM = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
HIGHEST_USER = 1_000_000_000
_POLICIES = ("PreemptLowerPriority", "Never")


class PriorityClassStrategy(Strategy):
    has_generation = True
    columns = (
        NAME_COLUMN,
        Column("Value", "integer"),
        Column("Global-Default", "boolean"),
        AGE_COLUMN,
        Column("PreemptionPolicy"),
    )

    def default(self, obj: Obj) -> None:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def prepare_create(self, obj: Obj, ctx: Any) -> None:
        super().prepare_create(obj, ctx)
        obj.setdefault("value", 0)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Any) -> None:
        """Nothing that counts can change: the generation stays."""
        obj.setdefault("value", 0)
        if "generation" in old["metadata"]:
            obj["metadata"]["generation"] = old["metadata"]["generation"]

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        name, value = obj["metadata"].get("name") or "", obj["value"]
        if name.startswith("system-"):
            why = _unknown_system_class(name, value)
            if why:
                told = "priority class names with 'system-' prefix are reserved for system use only. error: "
                out.append(forbidden("metadata.name", told + why))
        elif value > HIGHEST_USER:
            out.append(forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST_USER}"))
        return out + one_of("preemptionPolicy", obj["preemptionPolicy"], _POLICIES)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = [] if obj["value"] == (old.get("value") or 0) else [forbidden("value", "may not be changed in an update.")]
        return out + immutable("preemptionPolicy", obj["preemptionPolicy"], old.get("preemptionPolicy"))

    def undeletable(self, name: str) -> str:
        return "this is a system priority class and cannot be deleted" if name in SYSTEM else ""

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [
            obj["metadata"]["name"],
            obj.get("value") or 0,
            bool(obj.get("globalDefault")),
            age(obj, now),
            obj.get("preemptionPolicy", ""),
        ]


def _unknown_system_class(name: str, value: int) -> str:
    if name not in SYSTEM:
        return f"{name} is not a known system priority class"
    return "" if SYSTEM[name] == value else f"value of {name} PriorityClass must be {SYSTEM[name]}"
