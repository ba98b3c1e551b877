"""ReplicationController (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.kinds.replicaset import COUNT_COLUMNS
from pilothouse.api.kinds.workload import WorkloadStrategy, non_negative, validate_template
from pilothouse.api.table import age, containers, labels_text


class ReplicationControllerStrategy(WorkloadStrategy):
    default_propagation = "Orphan"
    selectable = ("status.replicas",)
    columns = COUNT_COLUMNS

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        labels = (spec["template"].get("metadata") or {}).get("labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not obj["metadata"].get("labels"):
                obj["metadata"]["labels"] = dict(labels)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out = non_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        selector, template = spec.get("selector") or {}, spec.get("template") or {}
        if not selector:
            out.append(required("spec.selector"))
        out += non_negative(spec.get("replicas"), "spec.replicas")
        labels = (template.get("metadata") or {}).get("labels") or {}
        if any(labels.get(k) != v for k, v in selector.items()):
            out.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
        return out + validate_template(template, "spec.template", ("Always",))

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return self.validate(obj)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas") or 0)}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers((spec.get("template") or {}).get("spec") or {})
        return [obj["metadata"]["name"], spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0,
                age(obj, now), names, images, labels_text(spec.get("selector"))]  # fmt: skip
