"""CSIDriver: what a storage driver can do, and what it wants to be told (API reference: CSIDriverSpec)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.checks import immutable
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, not_supported
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy

_DEFAULTS: Obj = {
    "attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False, "seLinuxMount": False,
}  # fmt: skip
#: Gate VolumeLimitScaling is off.
_DISABLED = "preventPodSchedulingIfMissing"
_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_MODES = ("Persistent", "Ephemeral")
SHORTEST_TOKEN, LONGEST_TOKEN = 600, 1 << 32
SHORTEST_PERIOD = 10


class CSIDriverStrategy(Strategy):
    allow_unconditional_update = False
    delete_returns_object = True
    columns = (
        NAME_COLUMN, Column("AttachRequired", "boolean"), Column("PodInfoOnMount", "boolean"), Column("StorageCapacity", "boolean"),
        Column("TokenRequests"), Column("RequiresRepublish", "boolean"), Column("Modes"), AGE_COLUMN,
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        for key, value in _DEFAULTS.items():
            spec.setdefault(key, value)
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["spec"].pop(_DISABLED, None)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        """The generation counts changes, but is not there before the first one."""
        if old["spec"].get(_DISABLED) is None:
            obj["spec"].pop(_DISABLED, None)
        super().prepare_update(obj, old, ctx)
        generation = old["metadata"].get("generation", 0) + (1 if self.spec_changed(obj, old) else 0)
        if generation:
            obj["metadata"]["generation"] = generation

    def validate(self, obj: Obj) -> list[FieldError]:
        return _validate_spec(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        spec, before = obj["spec"], old["spec"]
        out = _validate_spec(spec)
        if spec["attachRequired"] != before.get("attachRequired"):
            out.append(invalid("spec.attachedRequired", spec["attachRequired"], "field is immutable"))
        return out + immutable("spec.volumeLifecycleModes", spec["volumeLifecycleModes"], before.get("volumeLifecycleModes"))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return [
            table.name_of(obj),
            spec.get("attachRequired", True),
            spec.get("podInfoOnMount", False),
            spec.get("storageCapacity", False),
            table.or_word(table.names(spec.get("tokenRequests"), "audience"), table.UNSET),
            spec.get("requiresRepublish", False),
            table.or_word(",".join(spec.get("volumeLifecycleModes") or ())),
            table.age(obj, now),
        ]


def _validate_spec(spec: Obj) -> list[FieldError]:
    out: list[FieldError] = []
    if spec["fsGroupPolicy"] not in _GROUP_POLICIES:
        out.append(not_supported("spec.fsGroupPolicy", spec["fsGroupPolicy"], _GROUP_POLICIES))
    out += _validate_tokens(spec.get("tokenRequests") or [])
    modes = spec["volumeLifecycleModes"]
    out += [not_supported("spec.volumeLifecycleModes", mode, _MODES) for mode in modes if mode not in _MODES]
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < SHORTEST_PERIOD:
        out.append(
            invalid(
                "spec.nodeAllocatableUpdatePeriodSeconds", period, f"must be greater than or equal to {SHORTEST_PERIOD} seconds"
            )
        )
    if spec.get("serviceAccountTokenInSecrets") is not None and not spec.get("tokenRequests"):
        told = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        out.append(invalid("spec.serviceAccountTokenInSecrets", spec["serviceAccountTokenInSecrets"], told))
    return out


def _validate_tokens(requests: list[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, request in enumerate(requests):
        path, audience, seconds = f"spec.tokenRequests[{n}]", request.get("audience") or "", request.get("expirationSeconds")
        if audience in seen:
            out.append(duplicate(f"{path}.audience", audience))
        seen.add(audience)
        if seconds is not None and seconds < SHORTEST_TOKEN:
            out.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
        elif seconds is not None and seconds > LONGEST_TOKEN:
            out.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))
    return out
