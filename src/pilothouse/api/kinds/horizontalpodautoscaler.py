"""HorizontalPodAutoscaler: how many pods, by how busy they are."""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api import table
from pilothouse.api.checks import non_negative
from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds import hpa_conversion
from pilothouse.api.kinds.hpa_validation import validate_spec
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

#: Percent of its CPU request that a pod should use.
USUAL_UTILIZATION = 80
_USUAL_RULES = {
    "scaleUp": orjson.dumps({"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                             "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]}),
    "scaleDown": orjson.dumps({"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}),
}  # fmt: skip
_SHOWN = 2


class HorizontalPodAutoscalerStrategy(Strategy):
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Reference"), Column("Targets"), Column("MinPods"), Column("MaxPods"), Column("Replicas"), AGE_COLUMN,
    )  # fmt: skip

    def convert(self, obj: Obj, version: str) -> Obj:
        if obj.get("apiVersion") == version:
            return obj
        return hpa_conversion.to_v1(obj) if version == "autoscaling/v1" else hpa_conversion.to_v2(obj)

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("minReplicas", 1)
        if self.resource.version == "v1":
            if hpa_conversion.METRICS not in (obj["metadata"].get("annotations") or {}):
                spec.setdefault("targetCPUUtilizationPercentage", USUAL_UTILIZATION)
            return
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": USUAL_UTILIZATION}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        if spec.get("behavior") is not None:
            for key, usual in _USUAL_RULES.items():
                spec["behavior"][key] = {**orjson.loads(usual), **(spec["behavior"].get(key) or {})}

    def validate(self, obj: Obj) -> list[FieldError]:
        """Rules are told in the newer version's words, whatever the version of the request."""
        return validate_spec(self.convert(obj, "autoscaling/v2").get("spec") or {}, "spec")

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        status = obj.get("status") or {}
        return [e for key in ("currentReplicas", "desiredReplicas") for e in non_negative(f"status.{key}", status.get(key))]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        """The same in both versions: what v2 says."""
        obj = self.convert(obj, "autoscaling/v2")
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        ref, least = spec.get("scaleTargetRef") or {}, spec.get("minReplicas")
        return [
            table.name_of(obj),
            f"{ref.get('kind', '')}/{ref.get('name', '')}",
            targets(spec.get("metrics") or [], status.get("currentMetrics") or []),
            table.UNSET if least is None else str(least),
            spec.get("maxReplicas", 0),
            status.get("currentReplicas", 0),
            table.age(obj, now),
        ]


def targets(metrics: list[Obj], current: list[Obj]) -> str:
    """What is measured against what is wanted, for the first two metrics."""
    if not metrics:
        return table.NONE
    shown = [_target(m, current[i] if i < len(current) else {}) for i, m in enumerate(metrics[:_SHOWN])]
    return table.more(shown, len(metrics), ", ")


def _target(metric: Obj, current: Obj) -> str:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source = metric.get(field)
    if source is None:
        return "<unknown type>"
    target, now = source.get("target") or {}, (current.get(field) or {}).get("current") or {}
    if kind in ("Resource", "ContainerResource"):
        return f"{source.get('name', '')}: {_usage(target, now)}"
    if kind == "Pods":
        return f"{now.get('averageValue', table.UNKNOWN)}/{target.get('averageValue', '0')}"
    if target.get("averageValue") is not None:
        return f"{now.get('averageValue', table.UNKNOWN)}/{target['averageValue']} (avg)"
    return f"{now.get('value', table.UNKNOWN)}/{target.get('value', '0')}"


def _usage(target: Obj, now: Obj) -> str:
    if target.get("averageValue") is not None:
        return f"{now.get('averageValue', table.UNKNOWN)}/{target['averageValue']}"
    used, wanted = now.get("averageUtilization"), target.get("averageUtilization")
    percent = table.UNKNOWN if used is None else f"{used}%"
    return f"{percent}/{'<auto>' if wanted is None else f'{wanted}%'}"
