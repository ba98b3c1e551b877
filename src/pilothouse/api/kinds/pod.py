"""Pod: its own defaults and rules around the spec that templates share (API reference: Pod)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import quantity
from pilothouse.api.errors import FieldError, Obj, forbidden
from pilothouse.api.kinds.podspec import default_pod_spec
from pilothouse.api.kinds.podspec_validation import validate_pod_spec
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Path, Strategy
from pilothouse.api.table import age

_NOTHING_ELSE = ("pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
                 "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
                 "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")  # fmt: skip


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort."""
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    guaranteed = True
    for c in [{"resources": spec["resources"]}] if spec.get("resources") else every:
        resources = c.get("resources") or {}
        own: set[str] = set()
        for into, listed in ((requests, resources.get("requests")), (limits, resources.get("limits"))):
            for name, amount in (listed or {}).items():
                if name in ("cpu", "memory") and quantity.sign(amount) > 0:
                    into[name] = quantity.add(into[name], amount) if name in into else amount
                    if into is limits:
                        own.add(name)
        guaranteed = guaranteed and own == {"cpu", "memory"}
    if not requests and not limits:
        return "BestEffort"
    same = requests.keys() == limits.keys() and all(quantity.compare(requests[n], limits[n]) == 0 for n in requests)
    return "Guaranteed" if guaranteed and same else "Burstable"


class PodStrategy(Strategy):
    delete_returns_object = True
    has_generation = True
    selectable = ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
                  "status.podIP", "status.podIPs", "status.nominatedNodeName")  # fmt: skip
    reset_fields: dict[str, tuple[Path, ...]] = {  # noqa: RUF012
        "": (("status",),),
        "status": (("spec",), ("metadata", "deletionTimestamp"), ("metadata", "ownerReferences")),
    }
    columns = (NAME_COLUMN, Column("Ready"), Column("Status"), Column("Restarts"), AGE_COLUMN, Column("IP", priority=1), Column("Node", priority=1),
               Column("Nominated Node", priority=1), Column("Readiness Gates", priority=1))  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if spec.get("enableServiceLinks") is None:
            spec["enableServiceLinks"] = True
        default_pod_spec(spec)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        obj["metadata"]["generation"] = 1
        status: Obj = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        if obj["spec"].get("schedulingGates"):
            status["conditions"] = [{"type": "PodScheduled", "status": "False", "lastProbeTime": None, "lastTransitionTime": None,
                                     "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}]  # fmt: skip
        obj["status"] = status

    def validate(self, obj: Obj) -> list[FieldError]:
        out = validate_pod_spec(obj["spec"], "spec")
        if obj["spec"].get("ephemeralContainers"):
            out.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        errors = validate_pod_spec(obj["spec"], "spec")
        if errors:
            return errors
        if _frozen(obj["spec"], old["spec"]) != _frozen(old["spec"], old["spec"]):
            return [forbidden("spec", _NOTHING_ELSE)]
        new, had = obj["spec"].get("tolerations") or [], old["spec"].get("tolerations") or []
        if any(t not in new for t in had):
            return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]
        gates = [g for g in obj["spec"].get("schedulingGates") or () if g not in (old["spec"].get("schedulingGates") or ())]
        if gates:
            return [
                forbidden("spec.schedulingGates", f"only deletion is allowed, but found new scheduling gate '{gates[0]['name']}'")
            ]
        return []

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        if sub == "status":
            super().prepare_subresource(sub, obj, old, ctx)
            return
        keep = obj["spec"]
        obj["status"] = old.get("status", {})
        obj["spec"] = spec = dict(old["spec"])
        if sub == "ephemeralcontainers":
            spec["ephemeralContainers"] = keep.get("ephemeralContainers") or []
        elif sub == "resize":
            by_name = {c["name"]: c for c in keep.get("containers") or ()}
            spec["containers"] = [{**c, "resources": by_name.get(c["name"], c).get("resources", {})} for c in spec["containers"]]
        if spec != old["spec"]:
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def grace_period(self, obj: Obj, wanted: int | None) -> int | None:
        """The client's wish or the spec's; nothing for pods that run nowhere or no longer."""
        status = obj.get("status") or {}
        if not obj["spec"].get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        grace = wanted if wanted is not None else obj["spec"].get("terminationGracePeriodSeconds", 30)
        return max(1, grace) if grace < 0 else int(grace)

    def fields(self, obj: Obj) -> dict[str, str]:
        spec, status = obj["spec"], obj.get("status") or {}
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def row_conditions(self, obj: Obj) -> list[Obj]:
        phase = (obj.get("status") or {}).get("phase")
        if phase == "Succeeded":
            return [
                {"type": "Completed", "status": "True", "reason": "Succeeded", "message": "The pod has completed successfully."}
            ]
        if phase == "Failed":
            return [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}]
        return []

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status, meta = obj["spec"], obj.get("status") or {}, obj["metadata"]
        states = status.get("containerStatuses") or []
        ready = sum(1 for s in states if s.get("ready"))
        restarts = _restarts(obj)
        gates = spec.get("readinessGates") or ()
        met = {c["type"] for c in status.get("conditions") or () if c.get("status") == "True"}
        told = f"{sum(1 for g in gates if g['conditionType'] in met)}/{len(gates)}" if gates else "<none>"
        return [meta["name"], f"{ready}/{len(spec.get('containers') or ())}", _reason(obj), str(restarts), age(obj, now),
                status.get("podIP") or "<none>", spec.get("nodeName") or "<none>", status.get("nominatedNodeName") or "<none>", told]  # fmt: skip


def _frozen(spec: Obj, old: Obj) -> Obj:
    """The spec without what an update may change."""
    out = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName")}
    for key in ("containers", "initContainers"):
        if out.get(key):
            out[key] = [{k: v for k, v in c.items() if k != "image"} for c in out[key]]
    if old.get("schedulingGates"):
        out.pop("nodeSelector", None)
        out.pop("affinity", None)
    out["nodeName"] = spec.get("nodeName")
    return out


def _reason(obj: Obj) -> str:
    """The STATUS column: the phase, or what keeps the pod from running."""
    status, meta = obj.get("status") or {}, obj["metadata"]
    reason = status.get("reason") or status.get("phase") or ""
    if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ()):
        reason = "SchedulingGated"
    initializing = _init_reason(obj)
    if initializing:
        reason = initializing
    else:
        running = False
        for s in reversed(status.get("containerStatuses") or []):
            state = s.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif "terminated" in state:
                reason = _terminated(state["terminated"])
            elif s.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
            reason = "Running" if ready else "NotReady"
    if "deletionTimestamp" in meta:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return reason


def _restarts(obj: Obj) -> int:
    """Restarts of what is running now: of the init containers until they are through, then of sidecars and containers."""
    status = obj.get("status") or {}
    sidecars = {c["name"] for c in obj["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    init = status.get("initContainerStatuses") or []
    if _init_reason(obj):
        return sum(s.get("restartCount", 0) for s in init)
    return sum(s.get("restartCount", 0) for s in (status.get("containerStatuses") or [])) + sum(
        s.get("restartCount", 0) for s in init if s["name"] in sidecars
    )


def _terminated(state: Obj) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _init_reason(obj: Obj) -> str:
    specs = {c["name"]: c for c in obj["spec"].get("initContainers") or ()}
    states = (obj.get("status") or {}).get("initContainerStatuses") or []
    for n, s in enumerate(states):
        state = s.get("state") or {}
        if "terminated" in state and state["terminated"].get("exitCode", 0) == 0:
            continue
        if (specs.get(s["name"]) or {}).get("restartPolicy") == "Always" and s.get("started"):
            continue
        if "terminated" in state:
            return "Init:" + _terminated(state["terminated"])
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return "Init:" + str(waiting)
        return f"Init:{n}/{len(specs)}"
    return ""


__all__ = ["PodStrategy", "qos_class"]
