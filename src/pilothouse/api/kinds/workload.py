"""What Deployments, ReplicaSets and other owners of pod templates have in common."""

from __future__ import annotations

from typing import Any

from pilothouse.api import selectors
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required
from pilothouse.api.kinds.podspec import default_pod_spec
from pilothouse.api.kinds.podspec_validation import validate_pod_spec
from pilothouse.api.meta import validate_annotations, validate_labels
from pilothouse.api.strategy import Path, Strategy


class WorkloadStrategy(Strategy):
    """A spec with replicas, a selector and a template; a status of its own."""

    has_generation = True
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",), ("metadata", "labels"))}  # noqa: RUF012
    default_replicas = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if self.default_replicas and spec.get("replicas") is None:
            spec["replicas"] = 1
        template = spec.setdefault("template", {"metadata": {}, "spec": {}})
        default_pod_spec(template.setdefault("spec", {}))

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out = non_negative(spec.get("replicas"), "spec.replicas") + non_negative(
            spec.get("minReadySeconds"), "spec.minReadySeconds"
        )
        return out + validate_selector_and_template(spec)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        if obj["spec"].get("selector") != old["spec"].get("selector"):
            out.append(invalid("spec.selector", obj["spec"].get("selector"), "field is immutable"))
        return out


def non_negative(value: Any, path: str) -> list[FieldError]:
    return [invalid(path, value, "must be greater than or equal to 0")] if (value or 0) < 0 else []


def validate_selector_and_template(spec: Obj, restart: tuple[str, ...] = ("Always",)) -> list[FieldError]:
    """A selector that is there, is not empty and matches the template's labels; a template that can run."""
    out: list[FieldError] = []
    selector = spec.get("selector")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is None:
        out.append(required("spec.selector"))
    else:
        problems = selectors.validate_label_selector(selector, "spec.selector")
        out += problems
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            out.append(invalid("spec.selector", selector, "empty selector is invalid for deployment"))
        elif not problems and not selectors.label_predicate(selector)(labels):
            out.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return out + validate_template(template, "spec.template", restart)


def validate_template(template: Obj, path: str, restart: tuple[str, ...] = ()) -> list[FieldError]:
    """A PodTemplateSpec."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    out = validate_labels(meta.get("labels"), f"{path}.labels") + validate_annotations(
        meta.get("annotations"), f"{path}.annotations"
    )
    out += validate_pod_spec(spec, f"{path}.spec")
    if restart and spec.get("restartPolicy") in ("OnFailure", "Never") and spec["restartPolicy"] not in restart:
        out.append(not_supported(f"{path}.spec.restartPolicy", spec["restartPolicy"], restart))
    return out
