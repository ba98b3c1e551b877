"""Kinds whose status subresource writes nothing but the status: labels, annotations and the like stay as they were."""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.api.strategy import Context, Strategy

#: What a client may otherwise change of an object's metadata.
_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp", "generation")


def restore_metadata(obj: Obj, old: Obj) -> None:
    """Undo what the request changed of the metadata; who owns which field stays as tracked."""
    meta, before = obj["metadata"], old["metadata"]
    for name in _METADATA:
        if name in before:
            meta[name] = before[name]
        else:
            meta.pop(name, None)


class StatusOnly(Strategy):
    """A kind whose status endpoint also resets the metadata."""

    reset_fields = {"": (("status",),), "status": (("spec",), ("metadata",))}  # noqa: RUF012

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        if sub == "status":
            restore_metadata(obj, old)
