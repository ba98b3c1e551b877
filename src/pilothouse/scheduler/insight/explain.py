"""A decision in the words of the API: SchedulingDecision of pilothouse.dev/v1alpha1.

`spec` says about what was decided, `status` what came out: the nodes that each plugin removed and why, every finalist's score by plugin,
the time of each plugin; and for a pod without a node, which nodes come nearest as the cluster is now, and what keeps the pod from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.clock import rfc3339
from pilothouse.scheduler.decision import Decision
from pilothouse.scheduler.insight.journal import Noted
from pilothouse.scheduler.insight.nearest import Near
from pilothouse.scheduler.laps import Lap

Obj = dict[str, Any]

API_VERSION = "pilothouse.dev/v1alpha1"
KIND = "SchedulingDecision"
RESULT = "Scheduled"


def decision_object(noted: Noted, near: Sequence[Near] = (), recorded: bool = True, full: bool = True) -> Obj:
    """One decision. Not `recorded`: it was made for this answer. Not `full`: without the names of nodes and their scores."""
    decision, meta = noted.record.decision(), noted.pod.obj["metadata"]
    status: Obj = {
        "result": RESULT if decision.node else decision.reason or "Unschedulable",
        "nodeName": decision.node or "",
        "message": decision.message,
        "nodes": {"total": decision.nodes_total, "feasible": _feasible(decision)},
        "filters": [
            {"plugin": v.plugin, "reason": v.reason, "removed": len(v.nodes), "unresolvable": v.unresolvable}
            | ({"nodes": list(v.nodes)} if full else {})
            for v in decision.rejected
        ],
    }
    status = {key: value for key, value in status.items() if value != ""}
    if full and decision.totals:
        status["scores"] = scores(decision)
        status["best"] = sum(1 for total in decision.totals.values() if total == max(decision.totals.values()))
    if decision.nominated:
        status["preemption"] = {"nodeName": decision.nominated, "victims": list(decision.victims)}
    if full and near:
        status["nearest"] = [near_object(n) for n in near]
    status["durations"] = durations(noted.record.laps)
    return {
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {
            "name": noted.pod.name,
            "namespace": noted.pod.namespace,
            "creationTimestamp": rfc3339(noted.at),
        },
        "spec": {
            "schedulerName": noted.profile,
            "podUID": meta.get("uid", ""),
            "attempt": noted.attempt,
            "recorded": recorded,
        },
        "status": status,
    }


def _feasible(decision: Decision) -> int:
    gone = {name for verdict in decision.rejected for name in verdict.nodes}
    return max(decision.nodes_total - len(gone), 0) if decision.reason != "SchedulingGated" else 0


def scores(decision: Decision) -> list[Obj]:
    """The finalists, best first, with the weighted score of each plugin."""
    ranked = sorted(decision.totals.items(), key=lambda item: (-item[1], item[0] != decision.node, item[0]))
    return [{"node": node, "total": total, "plugins": decision.score_of(node)} for node, total in ranked]


def near_object(near: Near) -> Obj:
    obstacles = [
        {"plugin": o.plugin, "reason": o.reason, "unresolvable": o.unresolvable} | ({"remedy": o.remedy} if o.remedy else {})
        for o in near.obstacles
    ]
    return {"node": near.node, "obstacles": obstacles}


def durations(laps: Sequence[Lap]) -> list[Obj]:
    """Microseconds by extension point and plugin."""
    return [{"extensionPoint": point, "plugin": plugin, "microseconds": round(s * 1e6, 1)} for point, plugin, s in laps]
