"""Namespace (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy
from pilothouse.api.table import age

NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(Strategy):
    terminates = True
    delete_returns_object = True
    selectable = ("status.phase",)
    columns = (NAME_COLUMN, Column("Status"), AGE_COLUMN)

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.dns1123_label(name, prefix)

    def default(self, obj: Obj) -> None:
        meta = obj["metadata"]
        if meta.get("name"):
            meta.setdefault("labels", {})[NAME_LABEL] = meta["name"]

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        obj["status"] = {"phase": "Active"}
        spec = obj.setdefault("spec", {})
        if "kubernetes" not in (spec.get("finalizers") or ()):
            spec["finalizers"] = [*(spec.get("finalizers") or ()), "kubernetes"]

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        obj["spec"], obj["status"] = old["spec"], old.get("status", {})

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        """`finalize` writes spec.finalizers and nothing else; `status` only the status."""
        if sub != "finalize":
            super().prepare_subresource(sub, obj, old, ctx)
            return
        finalizers = (obj.get("spec") or {}).get("finalizers")
        obj["spec"] = {"finalizers": finalizers} if finalizers else {}
        obj["status"] = old.get("status", {})

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.phase": (obj.get("status") or {}).get("phase", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], (obj.get("status") or {}).get("phase", ""), age(obj, now)]
