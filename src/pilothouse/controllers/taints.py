"""Taints and tolerations as controllers deal with them. Reference: "Taints and tolerations", taint based evictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.client.reconcile.objects import Obj, condition
from pilothouse.clock import rfc3339

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
#: Condition type, the status that taints, the taint's key.
_BY_CONDITION = (
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
)
_CONDITION_KEYS = frozenset(key for _, _, key in _BY_CONDITION) | {UNSCHEDULABLE}


def of(node: Obj) -> list[Obj]:
    return node["spec"].get("taints") or []


def with_effect(node: Obj, effect: str) -> list[Obj]:
    return [t for t in of(node) if t["effect"] == effect]


def has(node: Obj, key: str, effect: str = "") -> bool:
    return any(t["key"] == key and effect in ("", t["effect"]) for t in of(node))


def is_out_of_service(node: Obj) -> bool:
    """Declared so by an administrator, and not ready indeed (KEP-2268)."""
    ready = condition(node, "Ready")
    return has(node, OUT_OF_SERVICE) and (ready is None or ready["status"] != "True")


def tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") in ("Exists",):
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def patience(tolerations: Sequence[Obj], taints: Iterable[Obj]) -> float | None:
    """Seconds for which a pod bears all these taints together; 0 if it does not bear one, None for ever."""
    limits: list[float] = []
    for taint in taints:
        bearing = [t for t in tolerations if tolerates(t, taint)]
        if not bearing:
            return 0.0
        limits += [max(0, t["tolerationSeconds"]) for t in bearing if t.get("tolerationSeconds") is not None]
    return float(min(limits)) if limits else None


def revised(node: Obj, add: Iterable[tuple[str, str]], drop: Iterable[tuple[str, str]], now: float) -> list[Obj] | None:
    """The node's taints with these (key, effect) added and dropped; None if it has them so already."""
    unwanted = set(drop)
    kept = [t for t in of(node) if (t["key"], t["effect"]) not in unwanted]
    present = {(t["key"], t["effect"]) for t in kept}
    new = [{"key": k, "effect": e, "timeAdded": rfc3339(now)} for k, e in add if (k, e) not in present]
    out = kept + new
    return None if out == of(node) else out


def no_schedule(node: Obj, now: float) -> list[Obj] | None:
    """The taints that follow from the node's conditions, beside all others; None if they are there already."""
    wanted = []
    for kind, status, key in _BY_CONDITION:
        found = condition(node, kind)
        if found is not None and found["status"] == status:
            wanted.append(key)
    if node["spec"].get("unschedulable"):
        wanted.append(UNSCHEDULABLE)
    effect = "NoSchedule"
    return revised(node, [(k, effect) for k in wanted], [(k, effect) for k in _CONDITION_KEYS - set(wanted)], now)


def no_execute(node: Obj, status: str, now: float) -> list[Obj] | None:
    """The taints that follow from this status of `Ready`; None if they are there already."""
    effect = "NoExecute"
    wanted = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(status)
    add = [(wanted, effect)] if wanted else []
    return revised(node, add, [(k, effect) for k in (NOT_READY, UNREACHABLE) if k != wanted], now)
