"""PodDisruptionBudget: how many pods may be missing at once by choice."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import conditions, int_or_percent, non_negative, some_of
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.selectors import validate_label_selector
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


class PodDisruptionBudgetStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Min Available"), Column("Max Unavailable"), Column("Allowed Disruptions", "integer"), AGE_COLUMN,
    )  # fmt: skip

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.path_segment(name, prefix)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        least, most, policy = spec.get("minAvailable"), spec.get("maxUnavailable"), spec.get("unhealthyPodEvictionPolicy")
        out: list[FieldError] = []
        if least is not None and most is not None:
            shown = {
                "MinAvailable": least,
                "Selector": spec.get("selector"),
                "MaxUnavailable": most,
                "UnhealthyPodEvictionPolicy": policy,
            }
            out.append(invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
        for key, value in (("minAvailable", least), ("maxUnavailable", most)):
            if value is not None:
                out += int_or_percent(f"spec.{key}", value)
        if spec.get("selector") is not None:
            out += validate_label_selector(spec["selector"], "spec.selector")
        return out if policy is None else out + some_of("spec.unhealthyPodEvictionPolicy", policy, _POLICIES)

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        status = obj.get("status") or {}
        out = conditions("status.conditions", status.get("conditions") or ())
        for key in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
            out += non_negative(f"status.{key}", status.get(key))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        allowed = (obj.get("status") or {}).get("disruptionsAllowed", 0)
        return [table.name_of(obj), *("N/A" if v is None else str(v) for v in (least, most)), allowed, table.age(obj, now)]
