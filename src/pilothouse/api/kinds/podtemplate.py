"""PodTemplate (v1): a template on its own (API reference: PodTemplate)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds.workload import template_warnings
from pilothouse.api.podspec.disabled import drop_disabled
from pilothouse.api.podspec.template import check_template, default_template
from pilothouse.api.strategy import NAME_COLUMN, Column, Context, Strategy
from pilothouse.api.table import containers, labels_text


class PodTemplateStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    columns = (NAME_COLUMN, Column("Containers"), Column("Images"), Column("Pod Labels"))

    def default(self, obj: Obj) -> None:
        default_template(obj)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        drop_disabled(obj["template"]["spec"])
        super().prepare_create(obj, ctx)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        drop_disabled(obj["template"]["spec"])
        super().prepare_update(obj, old, ctx)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        check_template(obj["template"], "template", out)
        return out

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        return template_warnings(obj["template"], "template")

    def cells(self, obj: Obj, now: float) -> list[Any]:
        names, images = containers(obj["template"]["spec"])
        return [obj["metadata"]["name"], names, images, labels_text((obj["template"].get("metadata") or {}).get("labels"))]
