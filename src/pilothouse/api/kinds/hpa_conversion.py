"""HorizontalPodAutoscaler in autoscaling/v1 and v2: one object, two ways of writing it.

v1 knows one metric, CPU utilization, as a field. Whatever else v2 can say, a v1 reader finds in annotations as JSON, and a v1 writer
who sends them back loses nothing. The texts are those that the reference server writes, member by member.
"""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.errors import Obj

PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (PREFIX + n for n in ("metrics", "current-metrics", "conditions", "behavior"))

_SOURCES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}


def to_v1(obj: Obj) -> Obj:
    """A v2 object as v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    notes: dict[str, Any] = {
        METRICS: [_old_metric(m) for m in metrics if not _is_cpu(m)],
        CURRENT: [_old_status(m) for m in current],
        CONDITIONS: [_old_condition(c) for c in status.pop("conditions", None) or []],
        BEHAVIOR: _old_behavior(spec.pop("behavior", None)),
    }
    cpu = next((m for m in metrics if _is_cpu(m)), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    used = next((u for m in current if (u := _cpu_used(m)) is not None), None)
    if used is not None:
        status["currentCPUUtilizationPercentage"] = used
    status.setdefault("currentReplicas", 0)
    added = {k: orjson.dumps(v).decode() for k, v in notes.items() if v}
    return {**obj, "metadata": _annotated(obj["metadata"], added), "spec": spec, "status": status}


def to_v2(obj: Obj) -> Obj:
    """A v1 object as v2. Annotations that cannot be read are dropped."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    notes = {name: _read(obj, name) for name in (METRICS, CURRENT, CONDITIONS, BEHAVIOR)}
    target, used = spec.pop("targetCPUUtilizationPercentage", None), status.pop("currentCPUUtilizationPercentage", None)
    metrics = [_new_metric(m) for m in _objects(notes[METRICS])]
    if target is not None:
        metrics.append(
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}}
        )
    if metrics:
        spec["metrics"] = metrics
    if isinstance(notes[BEHAVIOR], dict):
        spec["behavior"] = _new_behavior(notes[BEHAVIOR])
    current = [_new_status(m) for m in _objects(notes[CURRENT])]
    if not current and used is not None:
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}]
    status["currentMetrics"] = current or None
    if conditions := _objects(notes[CONDITIONS]):
        status["conditions"] = conditions
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    return {**obj, "metadata": _annotated(obj["metadata"], {}), "spec": spec, "status": status}


def _annotated(meta: Obj, added: dict[str, str]) -> Obj:
    """The metadata with our annotations as given and no others of ours."""
    kept = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in (METRICS, CURRENT, CONDITIONS, BEHAVIOR)}
    out = {k: v for k, v in meta.items() if k != "annotations"}
    if kept or added:
        out["annotations"] = {**kept, **added}
    return out


def _read(obj: Obj, name: str) -> Any:
    text = (obj["metadata"].get("annotations") or {}).get(name)
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _objects(value: Any) -> list[Obj]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _is_cpu(metric: Obj) -> bool:
    source = metric.get("resource") or {}
    return (
        metric.get("type") == "Resource"
        and source.get("name") == "cpu"
        and (source.get("target") or {}).get("averageUtilization") is not None
    )


def _cpu_used(metric: Obj) -> int | None:
    source = metric.get("resource") or {}
    if metric.get("type") != "Resource" or source.get("name") != "cpu":
        return None
    found: int | None = (source.get("current") or {}).get("averageUtilization")
    return found


def _some(**members: Any) -> Obj:
    """The members that have a value."""
    return {k: v for k, v in members.items() if v is not None}


# --- metrics --------------------------------------------------------------------------------------------------------------------


def _old_metric(metric: Obj) -> Obj:
    return _old(metric, "target")


def _old_status(metric: Obj) -> Obj:
    return _old(metric, "current")


def _old(metric: Obj, side: str) -> Obj:
    """A metric, or its status, in v1's words; `side` is target or current."""
    kind = metric.get("type", "")
    field = _SOURCES.get(kind)
    source = metric.get(field) if field else None
    if field is None or source is None:
        return {"type": kind}
    value, named = source.get(side) or {}, source.get("metric") or {}
    usage = {f"{side}AverageUtilization": value.get("averageUtilization"), f"{side}AverageValue": value.get("averageValue")}
    if side == "current" and kind in ("Resource", "ContainerResource"):
        usage[f"{side}AverageValue"] = value.get("averageValue", "0")
    made: Obj
    if kind == "Resource":
        made = _some(name=source.get("name"), **usage)
    elif kind == "ContainerResource":
        made = _some(name=source.get("name"), **usage, container=source.get("container"))
    elif kind == "Pods":
        made = _some(
            metricName=named.get("name"),
            **{f"{side}AverageValue": value.get("averageValue", "0")},
            selector=named.get("selector"),
        )
    elif kind == "Object":
        of = source.get("describedObject") or {}
        target = _some(kind=of.get("kind"), name=of.get("name"), apiVersion=of.get("apiVersion"))
        made = _some(target=target, metricName=named.get("name"), **{f"{side}Value": value.get("value", "0")},
                     selector=named.get("selector"), averageValue=value.get("averageValue"))  # fmt: skip
    else:
        plain = value.get("value", "0" if side == "current" else None)
        made = _some(metricName=named.get("name"), metricSelector=named.get("selector"),
                     **{f"{side}Value": plain, f"{side}AverageValue": value.get("averageValue")})  # fmt: skip
    return {"type": kind, field: made}


def _new_metric(metric: Obj) -> Obj:
    return _new(metric, "target")


def _new_status(metric: Obj) -> Obj:
    return _new(metric, "current")


def _new(metric: Obj, side: str) -> Obj:
    """A metric, or its status, in v2's words."""
    kind = metric.get("type", "")
    field = _SOURCES.get(kind)
    old = metric.get(field) if field else None
    if field is None or not isinstance(old, dict):
        return {"type": kind}
    average = old.get("averageValue") if kind == "Object" else old.get(f"{side}AverageValue")
    plain = old.get(f"{side}Value")
    if kind == "Object" and average is not None:
        plain = None
    value = _some(value=plain, averageValue=average, averageUtilization=old.get(f"{side}AverageUtilization"))
    if side == "target":
        value = {"type": _target_type(value), **value}
    made: Obj = {side: value}
    if kind in ("Resource", "ContainerResource"):
        made = _some(name=old.get("name"), **made, container=old.get("container"))
    else:
        named = _some(name=old.get("metricName"), selector=old.get("metricSelector") or old.get("selector"))
        made = _some(metric=named, **made, describedObject=old.get("target") if kind == "Object" else None)
    return {"type": kind, field: made}


def _target_type(value: Obj) -> str:
    if "averageUtilization" in value:
        return "Utilization"
    return "AverageValue" if "averageValue" in value else "Value"


# --- conditions and behavior ----------------------------------------------------------------------------------------------------


def _old_condition(condition: Obj) -> Obj:
    order = ("type", "status", "lastTransitionTime", "reason", "message")
    return {name: condition[name] for name in order if name in condition}


def _old_behavior(behavior: Obj | None) -> Obj | None:
    if behavior is None:
        return None
    return {"ScaleUp": _old_rules(behavior.get("scaleUp")), "ScaleDown": _old_rules(behavior.get("scaleDown"))}


def _old_rules(rules: Obj | None) -> Obj | None:
    if rules is None:
        return None
    policies = rules.get("policies")
    return {
        "StabilizationWindowSeconds": rules.get("stabilizationWindowSeconds"),
        "SelectPolicy": rules.get("selectPolicy"),
        "Policies": None if policies is None else [
            {"Type": p.get("type", ""), "Value": p.get("value", 0), "PeriodSeconds": p.get("periodSeconds", 0)} for p in policies
        ],
        "Tolerance": rules.get("tolerance"),
    }  # fmt: skip


def _new_behavior(behavior: Obj) -> Obj:
    rules = {
        new: _new_rules(behavior[old]) for old, new in (("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")) if behavior.get(old)
    }
    return rules


def _new_rules(rules: Obj) -> Obj:
    policies = rules.get("Policies")
    return _some(
        stabilizationWindowSeconds=rules.get("StabilizationWindowSeconds"),
        selectPolicy=rules.get("SelectPolicy"),
        policies=None if policies is None else [
            {"type": p.get("Type", ""), "value": p.get("Value", 0), "periodSeconds": p.get("PeriodSeconds", 0)} for p in policies
        ],
        tolerance=rules.get("Tolerance"),
    )  # fmt: skip
