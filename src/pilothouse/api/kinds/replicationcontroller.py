"""ReplicationController (v1): the ReplicaSet of earlier days (API reference: ReplicationController)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.kinds.replicaset import COUNT_COLUMNS, check_replica_status
from pilothouse.api.kinds.workload import WorkloadStrategy, check_non_negative
from pilothouse.api.podspec.template import MISMATCH, check_forever, check_template, default_template, shown_labels
from pilothouse.api.strategy import Context
from pilothouse.api.table import age, containers, labels_text


class ReplicationControllerStrategy(WorkloadStrategy):
    default_propagation = "Orphan"
    selectable = ("status.replicas",)
    columns = COUNT_COLUMNS

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.long_name(name, prefix)

    def default(self, obj: Obj) -> None:
        """The template's labels are the selector's and the object's own, where they have none."""
        spec = obj.get("spec")
        if spec is None:
            spec = obj["spec"] = {}
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        if spec.get("template") is None:
            return
        default_template(spec)
        labels = spec["template"]["metadata"].get("labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not obj["metadata"].get("labels"):
                obj["metadata"]["labels"] = dict(labels)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"replicas": 0}

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        spec = obj["spec"]
        check_non_negative(spec, "spec", out, "minReadySeconds")
        selector, template = spec.get("selector") or {}, spec.get("template")
        if not selector:
            out.append(required("spec.selector"))
        check_non_negative(spec, "spec", out, "replicas")
        if template is None:
            out.append(required("spec.template"))
            return out
        labels = (template.get("metadata") or {}).get("labels")
        if any((labels or {}).get(k) != v for k, v in selector.items()):
            out.append(invalid("spec.template.metadata.labels", shown_labels(labels), MISMATCH))
        check_template(template, "spec.template", out)
        check_forever(template, "ReplicationController", "spec.template", out)
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            check_replica_status(obj.get("status") or {}, out)
        return out

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas") or 0)}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers((spec.get("template") or {}).get("spec") or {})
        return [obj["metadata"]["name"], spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0,
                age(obj, now), names, images, labels_text(spec.get("selector"))]  # fmt: skip
