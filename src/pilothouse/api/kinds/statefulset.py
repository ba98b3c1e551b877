"""StatefulSet (apps/v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, forbidden
from pilothouse.api.kinds.workload import WorkloadStrategy
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column
from pilothouse.api.table import age, containers

_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


class StatefulSetStrategy(WorkloadStrategy):
    columns = (NAME_COLUMN, Column("Ready"), AGE_COLUMN, Column("Containers", priority=1), Column("Images", priority=1))

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        retention.setdefault("whenDeleted", "Retain")
        retention.setdefault("whenScaled", "Retain")
        spec.setdefault("revisionHistoryLimit", 10)
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.setdefault("kind", "PersistentVolumeClaim")
            claim.setdefault("apiVersion", "v1")
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            claim["status"] = {**(claim.get("status") or {}), "phase": "Pending"}

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        if _fixed(obj["spec"]) != _fixed(old["spec"]):
            listed = ", ".join(f"'{k}'" for k in _MUTABLE[:-1])
            out.append(
                forbidden(
                    "spec", f"updates to statefulset spec for fields other than {listed} and '{_MUTABLE[-1]}' are forbidden"
                )
            )
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        names, images = containers(spec["template"]["spec"])
        return [
            obj["metadata"]["name"],
            f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
            age(obj, now),
            names,
            images,
        ]


def _fixed(spec: Obj) -> Obj:
    return {k: v for k, v in spec.items() if k not in _MUTABLE}
