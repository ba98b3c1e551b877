"""The doors of a pod besides its own: ephemeral containers, resizing, status. Each lets through only what it is for.

API reference: Pod operations; KEP-277 (ephemeral containers), KEP-1287 (in-place resize).
"""

from __future__ import annotations

from ipaddress import ip_address

from pilothouse.api import names
from pilothouse.api.checks import check_ip
from pilothouse.api.errors import Obj, duplicate, forbidden, invalid, not_supported
from pilothouse.api.podspec import internal
from pilothouse.api.podspec.annotations import MIRROR
from pilothouse.api.podspec.checks import Errors, name_errors
from pilothouse.api.podspec.qos import qos_class
from pilothouse.api.podspec.resources import COMPUTE

_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


# --- ephemeral containers ---------------------------------------------------------------------------------------------------------


def check_ephemeral_update(new: Obj, old: Obj, out: Errors) -> None:
    """Guests only come; they neither leave nor change."""
    if MIRROR in (old["metadata"].get("annotations") or {}):
        out[:] = [forbidden("[]", "static pods do not support ephemeral containers")]
        return
    now = {c.get("name"): c for c in new["spec"].get("ephemeralContainers") or ()}
    for had in old["spec"].get("ephemeralContainers") or ():
        told = f'existing ephemeral containers "{had.get("name")}" may not be'
        container = now.get(had.get("name"))
        if container is None:
            out.append(forbidden("spec.ephemeralContainers", f"{told} removed\n"))
        elif container != had:
            before, after = (internal.shape("EphemeralContainer", c) for c in (had, container))
            out.append(forbidden("spec.ephemeralContainers", f"{told} changed\n{internal.difference(before, after)}"))


# --- resize -----------------------------------------------------------------------------------------------------------------------


def resized(spec: Obj, wanted: Obj) -> Obj:
    """The spec with the resources that are wanted for its containers and itself, and nothing else of what is wanted."""
    out = dict(spec)
    for field in ("containers", "initContainers"):
        asked, have = wanted.get(field) or [], spec.get(field) or []
        if have and len(asked) == len(have):
            out[field] = [_with_resources(c, a) for c, a in zip(have, asked, strict=True)]
    if "resources" in wanted or "resources" in spec:
        if wanted.get("resources") is not None:
            out["resources"] = wanted["resources"]
        else:
            out.pop("resources", None)
    return out


def _with_resources(container: Obj, wanted: Obj) -> Obj:
    if container.get("name") != wanted.get("name"):
        return container
    out = {**container, "resources": wanted.get("resources") or {}}
    if wanted.get("resizePolicy") is not None:
        out["resizePolicy"] = wanted["resizePolicy"]
    return out


def check_resize(new: Obj, old: Obj, out: Errors) -> None:
    """Only CPU and memory; nothing is taken away; the quality of service stays what it is."""
    if MIRROR in (old["metadata"].get("annotations") or {}):
        out[:] = [forbidden("[]", "static pods cannot be resized")]
        return
    if (old["spec"].get("os") or {}).get("name") == "windows":
        out[:] = [forbidden("[]", "windows pods cannot be resized")]
        return
    if out:
        return
    for field in ("containers", "initContainers"):
        for n, (c, had) in enumerate(zip(new["spec"].get(field) or (), old["spec"].get(field) or (), strict=False)):
            _check_removal(c.get("resources") or {}, had.get("resources") or {}, f"spec.{field}[{n}].resources", out)
    if out:
        return
    quality = (old.get("status") or {}).get("qosClass") or qos_class(old["spec"])
    if qos_class(new["spec"]) != quality:
        out.append(invalid("spec", quality, "Pod QOS Class may not change as a result of resizing"))
    if _frozen(new["spec"]) != _frozen(old["spec"]):
        out.append(forbidden("spec", "only cpu and memory resources are mutable"))


def _check_removal(new: Obj, old: Obj, path: str, out: Errors) -> None:
    for field in ("limits", "requests"):
        gone = [n for n in COMPUTE if n in (old.get(field) or {}) and n not in (new.get(field) or {})]
        if gone:
            out.append(forbidden(f"{path}.{field}", f"resource {field} cannot be removed"))


def _frozen(spec: Obj) -> Obj:
    """The spec without what a resize may change."""
    out = {k: v for k, v in spec.items() if k != "resources"}
    for field in ("containers", "initContainers"):
        if out.get(field):
            out[field] = [{**c, "resources": _other_resources(c.get("resources") or {})} for c in out[field]]
    return out


def _other_resources(resources: Obj) -> Obj:
    lists = {f: {k: v for k, v in (resources.get(f) or {}).items() if k not in COMPUTE} for f in ("limits", "requests")}
    return {**lists, "claims": resources.get("claims") or []}


# --- status -----------------------------------------------------------------------------------------------------------------------


def check_status_update(new: Obj, old: Obj, out: Errors) -> None:
    """Conditions, names and addresses that make sense; what has ended does not begin again; the quality of service stays."""
    status, had = new.get("status") or {}, old.get("status") or {}
    for n, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        if kind not in _SYSTEM_CONDITIONS:
            name_errors(kind, names.qualified_name, f"status.conditions[{n}].Type", out)
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != had.get("nominatedNodeName"):
        name_errors(nominated, names.dns1123_subdomain, "status.nominatedNodeName", out)
    if (status.get("observedGeneration") or 0) < 0:
        out.append(invalid("status.observedGeneration", status["observedGeneration"], "must be a non-negative integer"))
    if status.get("qosClass") != had.get("qosClass"):
        out.append(invalid("status.qosClass", status.get("qosClass"), "field is immutable"))
    _check_transitions(status, had, new["spec"], out)
    _check_claim_statuses(status.get("resourceClaimStatuses") or [], new["spec"], out)
    _check_addresses(status, out)
    _check_devices(status, new["spec"], out)


_STATUSES = (
    ("containerStatuses", "containers"), ("initContainerStatuses", "initContainers"), ("ephemeralContainerStatuses", "ephemeralContainers"),
)  # fmt: skip


def _check_transitions(status: Obj, had: Obj, spec: Obj, out: Errors) -> None:
    for field, group in _STATUSES:
        own = {c.get("name"): c for c in spec.get(group) or ()}
        now = {s.get("name"): s for s in status.get(field) or ()}
        for n, old in enumerate(had.get(field) or ()):
            ended, current = (old.get("state") or {}).get("terminated"), now.get(old.get("name"))
            if ended is None or current is None or (current.get("state") or {}).get("terminated") is not None:
                continue
            policy = (own.get(old.get("name")) or {}).get("restartPolicy") or spec.get("restartPolicy")
            if group == "ephemeralContainers":
                policy = "Never"  # whatever the pod does
            if policy == "Never" or (policy == "OnFailure" and ended.get("exitCode", 0) == 0):
                told = "may not be transitioned to non-terminated state"
                out.append(forbidden(f"status.{field}[{n}].state", told))


def _check_claim_statuses(statuses: list[Obj], spec: Obj, out: Errors) -> None:
    known = {c.get("name") for c in spec.get("resourceClaims") or ()}
    for n, status in enumerate(statuses):
        where = f"status.resourceClaimStatuses[{n}]"
        if status.get("name") not in known:
            told = "must match the name of an entry in `spec.resourceClaims`"
            out.append(invalid(f"{where}.name", status.get("name") or "", told))
        if status.get("resourceClaimName"):
            name_errors(status["resourceClaimName"], names.dns1123_subdomain, f"{where}.name", out)


_HEALTH = ("Healthy", "Unhealthy", "Unknown")


def _check_devices(status: Obj, spec: Obj, out: Errors) -> None:
    """What is told of a container's devices: of those that it asks for, each once."""
    for field, group in _STATUSES:
        told = status.get(field) or ()
        if not any(container.get("allocatedResourcesStatus") for container in told):
            continue
        own = {c.get("name"): c.get("resources") or {} for c in spec.get(group) or ()}
        for n, container in enumerate(told):
            asked = own.get(container.get("name")) or {}
            claims = (
                f"claim:{c['name']}/{c['request']}" if c.get("request") else f"claim:{c['name']}"
                for c in asked.get("claims") or ()
            )
            known = {*(asked.get("requests") or ()), *claims}
            for k, devices in enumerate(container.get("allocatedResourcesStatus") or ()):
                _check_told_devices(devices, known, f"status.{field}[{n}].allocatedResourcesStatus[{k}]", out)


def _check_told_devices(told: Obj, known: set[str], path: str, out: Errors) -> None:
    if told.get("name") not in known:
        out.append(invalid(f"{path}.name", told.get("name") or "", "must match one of the container's resource requests"))
    seen: set[str] = set()
    for n, device in enumerate(told.get("resources") or ()):
        if device.get("health") not in _HEALTH:
            out.append(not_supported(f"{path}.resources[{n}].health", device.get("health") or "", _HEALTH))
        if device.get("resourceID") in seen:
            out.append(duplicate(f"{path}.resources[{n}].resourceID", device["resourceID"]))
        seen.add(device.get("resourceID") or "")


def _check_addresses(status: Obj, out: Errors) -> None:
    hosts = status.get("hostIPs") or []
    if hosts and hosts[0].get("ip") != status.get("hostIP"):
        out.append(invalid("status.hostIPs[0].ip", hosts[0].get("ip") or "", "must be equal to `hostIP`"))
    for field in ("podIPs", "hostIPs"):
        found = [entry.get("ip") or "" for entry in status.get(field) or ()]
        wrong = [error for n, ip in enumerate(found) for error in check_ip(f"status.{field}[{n}]", ip)]
        out += wrong
        if len(found) > 1 and not wrong and sorted(ip_address(ip).version for ip in found) != [4, 6]:
            out.append(invalid(f"status.{field}", status[field], "may specify no more than one IP for each IP family"))
        if field == "podIPs":
            out.extend(duplicate(f"status.{field}[{n}]", status[field][n]) for n, ip in enumerate(found) if ip in found[:n])
