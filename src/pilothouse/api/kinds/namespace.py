"""Namespace (v1).

Deletion is a state: the namespace is Terminating until whoever is named in spec.finalizers has emptied it and says so through the
`finalize` subresource.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import named
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy
from pilothouse.api.table import age

_STANDARD = ("kubernetes", "orphan", "foregroundDeletion")
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

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
            out += _finalizer(finalizer, "spec.finalizers")
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return []

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        if sub == "status":
            return _phase(obj)
        out: list[FieldError] = []
        for n, finalizer in enumerate((obj.get("spec") or {}).get("finalizers") or ()):
            out += _finalizer(finalizer, f"spec.finalizers[{n}]")
        return out

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.phase": (obj.get("status") or {}).get("phase", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def _finalizer(finalizer: str, path: str) -> list[FieldError]:
    """A qualified name; one without a domain must be a standard one."""
    out = named(path, finalizer, names.qualified_name(finalizer))
    if "/" not in finalizer and finalizer not in _STANDARD:
        out.append(invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
    return out


def _phase(obj: Obj) -> list[FieldError]:
    """The phase says whether the namespace is being deleted."""
    phase = (obj.get("status") or {}).get("phase") or ""
    if obj["metadata"].get("deletionTimestamp"):
        wrong = phase not in ("", "Terminating")
        told = "may only be 'Terminating' if `deletionTimestamp` is not empty"
    else:
        wrong = phase not in ("", "Active")
        told = "may only be 'Active' if `deletionTimestamp` is empty"
    return [invalid("status.Phase", phase, told)] if wrong else []
