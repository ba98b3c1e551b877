"""PodTemplate (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds.podspec import default_pod_spec
from pilothouse.api.kinds.workload import validate_template
from pilothouse.api.strategy import NAME_COLUMN, Column, Strategy
from pilothouse.api.table import containers, labels_text


class PodTemplateStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    columns = (NAME_COLUMN, Column("Containers"), Column("Images"), Column("Pod Labels"))

    def default(self, obj: Obj) -> None:
        default_pod_spec(obj.setdefault("template", {"metadata": {}}).setdefault("spec", {}))

    def validate(self, obj: Obj) -> list[FieldError]:
        return validate_template(obj["template"], "template")

    def cells(self, obj: Obj, now: float) -> list[Any]:
        names, images = containers(obj["template"]["spec"])
        return [obj["metadata"]["name"], names, images, labels_text((obj["template"].get("metadata") or {}).get("labels"))]
