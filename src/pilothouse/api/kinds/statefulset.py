"""StatefulSet (apps/v1): pods with names and volumes that stay theirs (API reference: StatefulSet)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported
from pilothouse.api.kinds.deployment import check_collisions
from pilothouse.api.kinds.persistentvolumeclaim import validate_claim_spec
from pilothouse.api.kinds.workload import WorkloadStrategy, check_non_negative
from pilothouse.api.meta import validate_labels
from pilothouse.api.podspec.checks import Errors, name_errors
from pilothouse.api.podspec.template import check_forever, check_matches, check_selector, check_template
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context
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
_FIXED = f"updates to statefulset spec for fields other than {', '.join(repr(k) for k in _MUTABLE[:-1])} and {_MUTABLE[-1]!r} are forbidden"
_RETENTION = ("Retain", "Delete")
_KEEPS_ALL = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
_COUNTS = (
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
)


class StatefulSetStrategy(WorkloadStrategy):
    names_pods = False
    columns = (NAME_COLUMN, Column("Ready"), AGE_COLUMN, Column("Containers", priority=1), Column("Images", priority=1))

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.dns1123_label(name, prefix)

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        strategy = spec.get("updateStrategy")
        if strategy is None:
            strategy = spec["updateStrategy"] = {}
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            if strategy.get("rollingUpdate") is None:
                strategy["rollingUpdate"] = {}
        rolling = strategy.get("rollingUpdate")
        if strategy["type"] == "RollingUpdate" and rolling is not None and rolling.get("partition") is None:
            rolling["partition"] = 0
        retention = spec.get("persistentVolumeClaimRetentionPolicy")
        if retention is None:
            retention = spec["persistentVolumeClaimRetentionPolicy"] = {}
        for field in ("whenDeleted", "whenScaled"):
            if not retention.get(field):
                retention[field] = "Retain"
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        for claim in spec.get("volumeClaimTemplates") or ():
            _default_claim(claim)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"replicas": 0, "availableReplicas": 0}
        _drop_max_unavailable(obj["spec"])

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        _drop_max_unavailable(obj["spec"])
        super().prepare_update(obj, old, ctx)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        self._check(obj["spec"], out)
        return out

    def _check(self, spec: Obj, out: Errors, claims: bool = True) -> None:
        policy = spec.get("podManagementPolicy")
        if policy not in ("OrderedReady", "Parallel"):
            out.append(invalid("spec.podManagementPolicy", policy or "", "must be 'OrderedReady' or 'Parallel'"))
        _check_update_strategy(spec["updateStrategy"], out)
        for field in ("whenDeleted", "whenScaled"):
            value = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(field)
            if value not in _RETENTION:
                out.append(not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{field}", value or "", _RETENTION))
        check_non_negative(spec, "spec", out, "replicas", "minReadySeconds")
        check_non_negative(spec.get("ordinals") or {}, "spec.ordinals", out, "start")
        if spec.get("serviceName"):
            name_errors(spec["serviceName"], names.dns1123_label, "spec.serviceName", out)
        if claims:
            _check_claims(spec.get("volumeClaimTemplates") or [], out)
        if check_selector(spec, "statefulset", "", out):
            _check_template(spec, out)
        check_forever(spec["template"], "StatefulSet", "spec.template", out)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        self._check(obj["spec"], out, claims=False)
        new, had = ({k: v for k, v in o["spec"].items() if k not in _MUTABLE} for o in (obj, old))
        if new != had:
            out.append(forbidden("spec", _FIXED))
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            _check_status(obj.get("status") or {}, old.get("status") or {}, out)
        return out

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        out = super().warnings(obj, old)
        return [*out, _KEEPS_ALL] if (obj["spec"].get("revisionHistoryLimit") or 0) < 0 else out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        shown, images = containers(spec["template"]["spec"])
        ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
        return [obj["metadata"]["name"], ready, age(obj, now), shown, images]


def _drop_max_unavailable(spec: Obj) -> None:
    """MaxUnavailableStatefulSet is off by default."""
    ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).pop("maxUnavailable", None)


def _default_claim(claim: Obj) -> None:
    claim["kind"], claim["apiVersion"] = claim.get("kind") or "PersistentVolumeClaim", claim.get("apiVersion") or "v1"
    spec = claim.get("spec")
    if spec is None:
        spec = claim["spec"] = {}
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    status = claim.get("status")
    if status is None:
        status = claim["status"] = {}
    if not status.get("phase"):
        status["phase"] = "Pending"


def _check_update_strategy(strategy: Obj, out: Errors) -> None:
    path = "spec.updateStrategy"
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    shown = (
        None if rolling is None else {"Partition": rolling.get("partition", 0), "MaxUnavailable": rolling.get("maxUnavailable")}
    )
    if kind == "OnDelete":
        if rolling is not None:
            out.append(invalid(f"{path}.rollingUpdate", shown, "only allowed for updateStrategy 'RollingUpdate'"))
    elif kind == "RollingUpdate":
        check_non_negative(rolling or {}, f"{path}.rollingUpdate", out, "partition")
    else:
        out.append(invalid(path, {"Type": kind, "RollingUpdate": shown}, "must be 'RollingUpdate' or 'OnDelete'"))


def _check_template(spec: Obj, out: Errors) -> None:
    """Labels that the selector wants, and good ones; mounts may use the set's own claims as volumes."""
    template = spec["template"]
    labels = (template.get("metadata") or {}).get("labels")
    check_matches(spec, "spec.template", out)
    if labels:
        out += validate_labels(labels, "spec.template.labels")
    claims = [c.get("metadata", {}).get("name") for c in spec.get("volumeClaimTemplates") or ()]
    if claims:
        pod = template.get("spec") or {}
        own = [v for v in pod.get("volumes") or () if v.get("name") not in claims]
        made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claims) if name]
        template = {**template, "spec": {**pod, "volumes": own + made}}
    check_template(template, "spec.template", out)


def _check_claims(claims: list[Obj], out: Errors) -> None:
    for n, claim in enumerate(claims):
        out += validate_claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{n}].spec")


def _check_status(status: Obj, old: Obj, out: Errors) -> None:
    check_non_negative(status, "status", out, *_COUNTS)
    most = status.get("replicas") or 0
    for field in ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"):
        if (status.get(field) or 0) > most:
            out.append(invalid(f"status.{field}", status.get(field) or 0, "cannot be greater than status.replicas"))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        out.append(
            invalid(
                "status.availableReplicas", status.get("availableReplicas") or 0, "cannot be greater than status.readyReplicas"
            )
        )
    check_collisions(status, old, out)
