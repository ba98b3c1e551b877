"""Marking a pod for what is done to it: the condition DisruptionTarget, written before an involuntary deletion (KEP-3329)."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import PODS
from pilothouse.client.reconcile.kit import Api
from pilothouse.client.reconcile.objects import Obj, condition
from pilothouse.clock import rfc3339
from pilothouse.controllers.pods import is_finished


def disruption(pod: Obj, reason: str, message: str, now: float) -> Obj | None:
    """The condition to write; None if the pod says so already."""
    known = condition(pod, "DisruptionTarget")
    if known is not None and (known["status"], known.get("reason"), known.get("message")) == ("True", reason, message):
        return None
    out: Obj = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    moved = known is None or known["status"] != "True"
    out["lastTransitionTime"] = rfc3339(now) if known is None or moved else known["lastTransitionTime"]
    if generation := pod["metadata"].get("generation"):
        out["observedGeneration"] = generation
    return out


async def mark(api: Api, pod: Obj, reason: str, message: str, now: float, fail: bool = False) -> None:
    """Write the condition and, with `fail`, the phase Failed where the pod has not ended yet."""
    status: Obj = {}
    if told := disruption(pod, reason, message, now):
        status["conditions"] = [told]
    if fail and not is_finished(pod):
        status["phase"] = "Failed"
    if status:
        meta = pod["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "status": status}
        await api.patch(PODS, meta["namespace"], meta["name"], patch, "strategic", "status")
