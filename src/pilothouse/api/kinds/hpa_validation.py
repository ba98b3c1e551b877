"""What a HorizontalPodAutoscaler may say (API reference: HorizontalPodAutoscalerSpec, autoscaling/v2)."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import names, quantity
from pilothouse.api.checks import named, some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required

_SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
_TARGETS = ("Utilization", "Value", "AverageValue")
_SELECT = ("Disabled", "Max", "Min")
LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800


def validate_spec(spec: Obj, path: str) -> list[FieldError]:
    """Errors of a specification in the form of autoscaling/v2."""
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    out: list[FieldError] = []
    if least is not None and least < 1:
        out.append(invalid(f"{path}.minReplicas", least, "must be greater than or equal to 1"))
    if most == 0:
        out.append(required(f"{path}.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        out.append(invalid(f"{path}.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        out.append(invalid(f"{path}.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    out += _validate_target_ref(spec.get("scaleTargetRef") or {}, f"{path}.scaleTargetRef")
    metrics = spec.get("metrics") or []
    for n, metric in enumerate(metrics):
        out += _validate_metric(metric, f"{path}.metrics[{n}]")
    if least == 0 and not any(m.get("object") or m.get("external") for m in metrics):
        out.append(
            forbidden(
                f"{path}.metrics", "must specify at least one Object or External metric to support scaling to zero replicas"
            )
        )
    for key in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(key)
        if rules is not None:
            out += _validate_rules(rules, f"{path}.behavior.{key}")
    return out


def _validate_reference(ref: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key in ("kind", "name"):
        value = ref.get(key) or ""
        out += named(f"{path}.{key}", value, names.path_segment(value)) if value else [required(f"{path}.{key}")]
    return out


def _validate_target_ref(ref: Obj, path: str) -> list[FieldError]:
    out = _validate_reference(ref, path)
    version = ref.get("apiVersion") or ""
    in_core = (version, ref.get("kind")) == ("v1", "ReplicationController")
    if "/" not in version and not in_core:
        out.append(invalid(f"{path}.apiVersion", version, "apiVersion must specify API group"))
    return out


# --- metrics ----------------------------------------------------------------------------------------------------------------------


def _validate_metric(metric: Obj, path: str) -> list[FieldError]:
    kind = metric.get("type") or ""
    out = [] if kind else [required(f"{path}.type", "must specify a metric source type")]
    wrong = not_supported(f"{path}.type", kind, sorted(_SOURCES))
    if kind not in _SOURCES:
        out.append(wrong)
    present = [field for field in _SOURCES.values() if metric.get(field) is not None]
    if present:
        out += _CHECKS[present[0]](metric[present[0]], f"{path}.{present[0]}")
    wanted = _SOURCES.get(kind, "")
    if not wanted:
        out.append(wrong)
    elif wanted not in present:
        out.append(required(f"{path}.{wanted}", "must populate information for the given metric source"))
    if len(present) != 1:
        out += [forbidden(f"{path}.{f}", "must populate the given metric source only") for f in present if f != wanted]
    return out


def _validate_identifier(metric: Obj, path: str) -> list[FieldError]:
    name = metric.get("name") or ""
    if not name:
        return [required(f"{path}.name", "must specify a metric name")]
    return named(f"{path}.name", name, names.path_segment(name))


def _validate_target(target: Obj, path: str) -> list[FieldError]:
    kind = target.get("type") or ""
    out = [] if kind else [required(f"{path}.type", "must specify a metric target type")]
    if kind not in _TARGETS:
        out.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and quantity.sign(target[key]) != 1:
            out.append(invalid(f"{path}.{key}", target[key], "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        out.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    return out


def _object(source: Obj, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    out = _validate_reference(source.get("describedObject") or {}, f"{path}.describedObject")
    out += _validate_identifier(source.get("metric") or {}, f"{path}.metric")
    out += _validate_target(target, f"{path}.target")
    if target.get("value") is None and target.get("averageValue") is None:
        out.append(required(f"{path}.target.averageValue", "must set either a target value or averageValue"))
    return out


def _external(source: Obj, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    out = _validate_identifier(source.get("metric") or {}, f"{path}.metric") + _validate_target(target, f"{path}.target")
    whole, each = target.get("value") is not None, target.get("averageValue") is not None
    if not whole and not each:
        out.append(required(f"{path}.target.averageValue", "must set either a target value for metric or a per-pod target"))
    if whole and each:
        out.append(forbidden(f"{path}.target.value", "may not set both a target value for metric and a per-pod target"))
    return out


def _pods(source: Obj, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    out = _validate_identifier(source.get("metric") or {}, f"{path}.metric") + _validate_target(target, f"{path}.target")
    if target.get("averageValue") is None or quantity.sign(target["averageValue"]) != 1:
        out.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return out


def _resource(source: Obj, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    out = [] if source.get("name") else [required(f"{path}.name", "must specify a resource name")]
    out += _validate_target(target, f"{path}.target")
    share, value = target.get("averageUtilization") is not None, target.get("averageValue") is not None
    if not share and not value:
        out.append(required(f"{path}.target.averageUtilization", "must set either a target raw value or a target utilization"))
    if share and value:
        out.append(forbidden(f"{path}.target.averageValue", "may not set both a target raw value and a target utilization"))
    return out


def _container_resource(source: Obj, path: str) -> list[FieldError]:
    out = _resource(source, path)
    if source.get("container"):
        return out
    missing = required(f"{path}.container", "must specify a container")
    return [*out[:1], missing, *out[1:]] if not source.get("name") else [missing, *out]


_CHECKS: dict[str, Callable[[Obj, str], list[FieldError]]] = {
    "object": _object, "external": _external, "pods": _pods, "resource": _resource, "containerResource": _container_resource,
}  # fmt: skip


# --- behaviour ----------------------------------------------------------------------------------------------------------------------


def _validate_rules(rules: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        out.append(invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"))
    if window is not None and window > LONGEST_WINDOW:
        out.append(invalid(f"{path}.stabilizationWindowSeconds", window, f"must be less than or equal to {LONGEST_WINDOW}"))
    if rules.get("selectPolicy") is not None:
        out += some_of(f"{path}.selectPolicy", rules["selectPolicy"], _SELECT)
    if not rules.get("policies"):
        out.append(required(f"{path}.policies", "must specify at least one Policy"))
    for n, policy in enumerate(rules.get("policies") or ()):
        out += _validate_policy(policy, f"{path}.policies[{n}]")
    if rules.get("tolerance") is not None and quantity.sign(rules["tolerance"]) < 0:
        out.append(invalid(f"{path}.tolerance", rules["tolerance"], "must be greater or equal to 0"))
    return out


def _validate_policy(policy: Obj, path: str) -> list[FieldError]:
    value, period = policy.get("value") or 0, policy.get("periodSeconds") or 0
    out = some_of(f"{path}.type", policy.get("type") or "", ("Percent", "Pods"))
    if value <= 0:
        out.append(invalid(f"{path}.value", value, "must be greater than zero"))
    if period <= 0:
        out.append(invalid(f"{path}.periodSeconds", period, "must be greater than zero"))
    if period > LONGEST_PERIOD:
        out.append(invalid(f"{path}.periodSeconds", period, f"must be less than or equal to {LONGEST_PERIOD}"))
    return out
