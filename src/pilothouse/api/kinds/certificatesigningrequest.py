"""CertificateSigningRequest: a certificate asked for, approved or denied, and issued."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.duration import human
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy


class CertificateSigningRequestStrategy(Strategy):
    selectable = ("spec.signerName",)
    reset_fields = {  # noqa: RUF012
        "": (("spec",), ("status",)),
        "status": (("spec",), ("status", "conditions")),
        "approval": (("spec",), ("status", "certificate")),
    }
    columns = (
        NAME_COLUMN, AGE_COLUMN, Column("SignerName"), Column("Requestor"), Column("RequestedDuration"), Column("Condition"),
    )  # fmt: skip

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        """What is asked for does not change."""
        super().prepare_update(obj, old, ctx)
        obj["spec"] = old["spec"]

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.signerName": (obj.get("spec") or {}).get("signerName", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        lifetime = spec.get("expirationSeconds")
        return [
            table.name_of(obj),
            table.age(obj, now),
            table.or_word(spec.get("signerName")),
            spec.get("username", ""),
            table.NONE if lifetime is None else human(lifetime),
            condition(obj),
        ]


def condition(obj: Obj) -> str:
    """How far it is, in the words of the CONDITION column."""
    status = obj.get("status") or {}
    types = {c.get("type") for c in status.get("conditions") or ()}
    words = [next((t for t in ("Denied", "Approved") if t in types), "Pending")]
    words += ["Failed"] * ("Failed" in types) + ["Issued"] * bool(status.get("certificate"))
    return ",".join(words)
