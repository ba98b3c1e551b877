"""PriorityClass (scheduling.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age

SYSTEM = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
HIGHEST_USER = 1_000_000_000


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
        if not obj.get("preemptionPolicy"):
            obj["preemptionPolicy"] = "PreemptLowerPriority"

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        name, value = obj["metadata"].get("name") or "", obj.get("value") or 0
        if name.startswith("system-"):
            if SYSTEM.get(name) != value:
                told = "priority class names with 'system-' prefix are reserved for system use only. error: "
                out.append(forbidden("metadata.name", told + f"{name} is not a known system priority class"))
        elif value > HIGHEST_USER:
            out.append(forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST_USER}"))
        if obj["preemptionPolicy"] not in ("Never", "PreemptLowerPriority"):
            out.append(not_supported("preemptionPolicy", obj["preemptionPolicy"], ("Never", "PreemptLowerPriority")))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if obj.get("value") != old.get("value"):
            out.append(invalid("value", obj.get("value"), "field is immutable"))
        if obj["preemptionPolicy"] != old.get("preemptionPolicy"):
            out.append(invalid("preemptionPolicy", obj["preemptionPolicy"], "field is immutable"))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [
            obj["metadata"]["name"],
            obj.get("value") or 0,
            bool(obj.get("globalDefault")),
            age(obj, now),
            obj.get("preemptionPolicy", ""),
        ]
