"""DaemonSet (apps/v1): a pod on every node (API reference: DaemonSet)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import selectors
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required
from pilothouse.api.kinds.deployment import check_collisions
from pilothouse.api.kinds.workload import (
    WorkloadStrategy,
    check_at_most_all,
    check_int_or_percent,
    check_non_negative,
    check_selector_immutable,
    is_zero,
)
from pilothouse.api.podspec.checks import Errors
from pilothouse.api.podspec.template import check_forever, check_matches, check_template
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context
from pilothouse.api.table import age, containers, labels_text

GENERATION = "deprecated.daemonset.template.generation"
_STRATEGIES = ("RollingUpdate", "OnDelete")
_NUMBERS = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
_COUNTS = (*_NUMBERS, "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable")


class DaemonSetStrategy(WorkloadStrategy):
    default_replicas = False
    names_pods = False
    columns = (NAME_COLUMN, Column("Desired", "integer"), Column("Current", "integer"), Column("Ready", "integer"), Column("Up-to-date", "integer"),
               Column("Available", "integer"), Column("Node Selector"), AGE_COLUMN, Column("Containers", priority=1), Column("Images", priority=1),
               Column("Selector", priority=1))  # fmt: skip

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        strategy = spec.get("updateStrategy")
        if strategy is None:
            strategy = spec["updateStrategy"] = {}
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.get("rollingUpdate")
            if rolling is None:
                rolling = strategy["rollingUpdate"] = {}
            if rolling.get("maxUnavailable") is None:
                rolling["maxUnavailable"] = 1
        if strategy.get("rollingUpdate") is not None:
            for field in ("maxUnavailable", "maxSurge"):
                strategy["rollingUpdate"].setdefault(field, 0)
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if GENERATION not in (obj["metadata"].get("annotations") or {}):
            _set_generation(obj, 0)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = dict.fromkeys(_NUMBERS, 0)
        _set_generation(obj, 1)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        """The template has a generation of its own, which is kept in an annotation."""
        super().prepare_update(obj, old, ctx)
        last = int((old["metadata"].get("annotations") or {}).get(GENERATION) or 0)
        changed = obj["spec"].get("template") != old["spec"].get("template")
        _set_generation(obj, last + 1 if changed else last)

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        _set_generation(obj, int((old["metadata"].get("annotations") or {}).get(GENERATION) or 0))

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        spec = obj["spec"]
        _check_selector(spec, out)
        check_template(spec["template"], "spec.template", out)
        check_forever(spec["template"], "DaemonSet", "spec.template", out)
        check_non_negative(spec, "spec", out, "minReadySeconds")
        _check_update_strategy(spec["updateStrategy"], out)
        check_non_negative(spec, "spec", out, "revisionHistoryLimit")
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        check_selector_immutable(obj["spec"], old["spec"], out)
        return out + self.validate(obj)

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            status = obj.get("status") or {}
            check_non_negative(status, "status", out, *_COUNTS)
            check_collisions(status, old.get("status") or {}, out)
        return out

    def bare_metadata(self, obj: Obj) -> Obj:
        """The annotation is only how this API's version shows a field that has no other place."""
        metadata: Obj = obj["metadata"]
        annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != GENERATION}
        out = {**metadata, "annotations": annotations}
        if not annotations:
            del out["annotations"]
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers(spec["template"]["spec"])
        numbers = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
        return [obj["metadata"]["name"], *(status.get(n) or 0 for n in numbers), labels_text(spec["template"]["spec"].get("nodeSelector")),
                age(obj, now), names, images, selector_text(spec.get("selector"))]  # fmt: skip


def _check_selector(spec: Obj, out: Errors) -> None:
    selector = spec.get("selector")
    problems = selectors.validate_label_selector(selector, "spec.selector") if selector else []
    out += problems
    if not problems:
        check_matches(spec, "spec.template", out)
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        out.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))


def _set_generation(obj: Obj, generation: int) -> None:
    annotations = obj["metadata"].get("annotations")
    if annotations is None:
        annotations = obj["metadata"]["annotations"] = {}
    annotations[GENERATION] = str(generation)


def _check_update_strategy(strategy: Obj, out: Errors) -> None:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if kind == "RollingUpdate":
        if rolling is None:
            out.append(required(f"{path}.rollingUpdate"))
        else:
            _check_rolling(rolling, f"{path}.rollingUpdate", out)
    elif kind != "OnDelete":
        shown = (
            None
            if rolling is None
            else {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}
        )
        out.append(not_supported(path, {"Type": kind, "RollingUpdate": shown}, _STRATEGIES))


def _check_rolling(rolling: Obj, path: str, out: Errors) -> None:
    """Either a pod may be missing or one may be too many; not both, and not neither."""
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        check_int_or_percent(value, f"{path}.{field}", out)
        check_at_most_all(value, f"{path}.{field}", out)
    if not is_zero(unavailable) and not is_zero(surge):
        out.append(invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif is_zero(unavailable) and is_zero(surge):
        out.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
