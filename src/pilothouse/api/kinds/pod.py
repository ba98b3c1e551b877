"""Pod (v1): its own defaults and rules around the spec that templates share (API reference: Pod)."""

from __future__ import annotations

import re
from typing import Any

import orjson

from pilothouse.api import times
from pilothouse.api.errors import FieldError, Obj, forbidden
from pilothouse.api.podspec.affinity import merge_label_keys
from pilothouse.api.podspec.annotations import check_pod_annotations
from pilothouse.api.podspec.apparmor import sync_apparmor
from pilothouse.api.podspec.cells import PodView, pod_cells
from pilothouse.api.podspec.containers import check_image_padding
from pilothouse.api.podspec.defaults import default_pod_only, default_pod_spec
from pilothouse.api.podspec.disabled import drop_disabled
from pilothouse.api.podspec.qos import qos_class
from pilothouse.api.podspec.subresources import check_ephemeral_update, check_resize, check_status_update, resized
from pilothouse.api.podspec.update import check_pod_update
from pilothouse.api.podspec.validation import check_pod_spec
from pilothouse.api.podspec.warnings import pod_warnings
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Path, Strategy

_SCHEDULING_GATED = {"type": "PodScheduled", "status": "False", "lastProbeTime": None, "lastTransitionTime": None,
                     "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}  # fmt: skip


_TOKEN_VOLUME = re.compile(rb"kube-api-access-[a-z0-9]{5}")


_COMPLETED = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}


class PodStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    selectable = ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
                  "status.podIP", "status.podIPs", "status.nominatedNodeName")  # fmt: skip
    reset_fields: dict[str, tuple[Path, ...]] = {  # noqa: RUF012
        "": (("status",),),
        "status": (("spec",), ("metadata", "deletionTimestamp"), ("metadata", "ownerReferences")),
    }
    view = PodView
    columns = (NAME_COLUMN, Column("Ready"), Column("Status"), Column("Restarts"), AGE_COLUMN, Column("IP", priority=1), Column("Node", priority=1),
               Column("Nominated Node", priority=1), Column("Readiness Gates", priority=1))  # fmt: skip

    # --- main endpoint ------------------------------------------------------------------------------------------------------------

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if spec is None:
            spec = obj["spec"] = {}
        default_pod_spec(spec)
        default_pod_only(spec)
        _one_address(obj.get("status") or {})

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        spec, metadata = obj["spec"], obj["metadata"]
        metadata["generation"] = 1
        if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
            spec["terminationGracePeriodSeconds"] = 1
        status: Obj = {"phase": "Pending"}
        if spec.get("schedulingGates"):
            status["conditions"] = [{**_SCHEDULING_GATED, "lastTransitionTime": times.text(ctx.now)}]
        status["qosClass"] = qos_class(spec)
        obj["status"] = status
        drop_disabled(spec)
        sync_apparmor(metadata, spec, ctx.warn)
        if spec.get("affinity") or spec.get("topologySpreadConstraints"):
            merge_label_keys(spec, metadata.get("labels") or {})

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        drop_disabled(obj["spec"])
        super().prepare_update(obj, old, ctx)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        self._check(obj, out)
        spec = obj["spec"]
        if spec.get("ephemeralContainers"):
            out.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        if spec.get("nodeName") and spec.get("schedulingGates"):
            out.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        self._check(obj, out, old)
        check_pod_update(obj, old, out)
        return out

    def _check(self, obj: Obj, out: list[FieldError], old: Obj | None = None) -> None:
        """What holds for a pod whenever it is written; what did not change since `old`, which was valid, still holds."""
        spec, metadata = obj["spec"], obj["metadata"]
        if metadata.get("annotations"):
            check_pod_annotations(metadata["annotations"], spec, "metadata.annotations", out)
        if (
            old is not None
            and spec == old["spec"]
            and (
                metadata.get("labels") == old["metadata"].get("labels")
                or not (spec.get("affinity") or spec.get("topologySpreadConstraints"))  # nothing else of a spec looks at labels
            )
        ):
            return
        check_pod_spec(spec, "spec", out, metadata)
        if not spec.get("serviceAccountName"):
            _check_tokens(spec.get("volumes") or (), out)
        for field in ("containers", "initContainers"):
            for n, container in enumerate(spec.get(field) or ()):
                check_image_padding(container, f"spec.{field}[{n}]", out)

    def validation_key(self, obj: Obj) -> bytes | None:
        """Pods of one template differ in their names and in the name of their token's volume only, which nothing depends on."""
        metadata = obj["metadata"]
        parts = [obj["spec"], obj.get("status"), metadata.get("labels"), metadata.get("annotations")]
        key = _TOKEN_VOLUME.sub(b"", orjson.dumps(parts))
        return None if b'"ephemeral":' in key else key

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        return pod_warnings(obj["metadata"], obj["spec"], "spec", "metadata") if old is None else []

    # --- subresources -------------------------------------------------------------------------------------------------------------

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        if sub == "status":
            _prepare_status(obj, old)
            return
        wanted = obj.get("spec") or {}
        metadata = obj["metadata"]
        kept = {k: metadata[k] for k in ("resourceVersion", "managedFields") if k in metadata}
        obj["metadata"] = {**{k: v for k, v in old["metadata"].items() if k != "managedFields"}, **kept}
        obj["status"] = dict(old.get("status") or {})
        if sub == "ephemeralcontainers":
            obj["spec"] = {**old["spec"], "ephemeralContainers": wanted.get("ephemeralContainers") or []}
            if not obj["spec"]["ephemeralContainers"]:
                del obj["spec"]["ephemeralContainers"]
        elif sub == "resize":
            obj["spec"] = resized(old["spec"], wanted)
        if obj["spec"] != old["spec"]:
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            check_status_update(obj, old, out)
            return out
        self._check(obj, out)
        if sub == "ephemeralcontainers":
            check_ephemeral_update(obj, old, out)
        elif sub == "resize":
            check_resize(obj, old, out)
        return out

    def grace_period(self, obj: Obj, wanted: int | None) -> int | None:
        """The client's wish or the spec's; nothing for pods that run nowhere or no longer."""
        if not obj["spec"].get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        grace = wanted if wanted is not None else obj["spec"].get("terminationGracePeriodSeconds", 30)
        return 1 if grace < 0 else int(grace)

    # --- reading --------------------------------------------------------------------------------------------------------------------

    def fields(self, obj: Obj) -> dict[str, str]:
        spec, status = obj["spec"], obj.get("status") or {}
        addresses = status.get("podIPs") or ()
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": addresses[0].get("ip", "") if addresses else status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return pod_cells(obj, now)

    def row_conditions(self, obj: Obj) -> list[Obj]:
        told = _COMPLETED.get((obj.get("status") or {}).get("phase") or "")
        return [{"type": "Completed", "status": "True", "reason": obj["status"]["phase"], "message": told}] if told else []


def _one_address(status: Obj) -> None:
    """The one podIP and the first of podIPs are the same; where they differ, the one counts."""
    one, many = status.get("podIP"), status.get("podIPs")
    if one and (not many or many[0].get("ip") != one):
        status["podIPs"] = [{"ip": one}]
    elif many and many[0].get("ip") and not one:
        status["podIP"] = many[0]["ip"]


def _prepare_status(obj: Obj, old: Obj) -> None:
    """The status as it came, but with the quality of service that the pod was given; owners as they were."""
    status = obj.get("status") or {}
    if not status.get("qosClass") and (old.get("status") or {}).get("qosClass"):
        status["qosClass"] = old["status"]["qosClass"]
    obj["spec"], obj["status"] = old["spec"], status
    owners = old["metadata"].get("ownerReferences")
    if owners is None:
        obj["metadata"].pop("ownerReferences", None)
    else:
        obj["metadata"]["ownerReferences"] = owners


def _check_tokens(volumes: Any, out: list[FieldError]) -> None:
    """Tokens are of the pod's service account, so there must be one."""
    for n, volume in enumerate(volumes):
        for m, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                where = f"spec.volumes[{n}].projected.sources[{m}].serviceAccountToken"
                out.append(forbidden(where, "must not be specified when serviceAccountName is not set"))


__all__ = ["PodStrategy", "qos_class"]
