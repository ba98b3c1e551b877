"""Decisions and what-if answers as text for people, from their API objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Obj = dict[str, Any]

#: Finalists shown, and nodes named, at most.
FINALISTS, NAMED = 10, 3


def columns(rows: Iterable[Sequence[object]], indent: str = "  ") -> str:
    """Rows as aligned columns; the first row is the head."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join((indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in cells)


def some(names: Sequence[str], limit: int = NAMED) -> str:
    """A few names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def decision_text(obj: Obj) -> str:
    """Why here, or why still waiting and what would have to change."""
    status = obj["status"]
    parts = [_head(obj)]
    if status.get("message"):
        parts.append(status["message"])
    if status.get("preemption"):
        made = status["preemption"]
        parts.append(f"Room is made on {made['nodeName']}: {some(made['victims'])} must leave.")
    if status["filters"]:
        parts.append(_filters(status["filters"]))
    if status.get("scores"):
        parts.append(_scores(status))
    elif status.get("nodeName"):
        parts.append(f"{status['nodeName']} was the only node that could run it: nothing was scored.")
    if status.get("nearest"):
        parts.append(_nearest(status["nearest"]))
    parts.append(_time(status["durations"]))
    return "\n\n".join(p for p in parts if p) + "\n"


def _head(obj: Obj) -> str:
    meta, spec, status = obj["metadata"], obj["spec"], obj["status"]
    where = f"goes to {status['nodeName']}" if status.get("nodeName") else f"has no node: {status['result']}"
    if spec["recorded"] and status.get("nodeName"):
        where = f"is on {status['nodeName']}"
    told = f"Pod {meta['namespace']}/{meta['name']} {where}"
    if spec["recorded"]:
        told += f" (decided by {spec['schedulerName']} at {meta['creationTimestamp']}, attempt {spec['attempt']})."
    else:
        told += f" (as {spec['schedulerName']} decides now; the decision of that time is not remembered)."
    queue = status.get("queue")
    if queue:
        told += f" It is in the {queue} queue."
    if status["result"] == "SchedulingGated":
        return told
    nodes = status["nodes"]
    return f"{told}\n{nodes['feasible']} of {nodes['total']} nodes could run it."


def _filters(filters: list[Obj]) -> str:
    rows: list[Sequence[object]] = [("PLUGIN", "NODES", "REASON", "WHICH")]
    rows += [(f["plugin"], f["removed"], f["reason"], some(f.get("nodes", ()))) for f in filters]
    return "Removed by filters:\n" + columns(rows)


def _scores(status: Obj) -> str:
    ranked: list[Obj] = status["scores"]
    # Plugins that tell finalists apart; the others add the same to all.
    plugins = [p for p in ranked[0]["plugins"] if len({r["plugins"][p] for r in ranked}) > 1]
    rows: list[Sequence[object]] = [("", "NODE", "TOTAL", *plugins)]
    for r in ranked[:FINALISTS]:
        chosen = "*" if r["node"] == status.get("nodeName") else ""
        rows.append((chosen, r["node"], r["total"], *(r["plugins"][p] for p in plugins)))
    told = "Scores (weighted; plugins that score all alike are left out):\n" + columns(rows, "")
    if len(ranked) > FINALISTS:
        told += f"\n  and {len(ranked) - FINALISTS} more"
    return f"{told}\n{_why(status, ranked)}"


def _why(status: Obj, ranked: list[Obj]) -> str:
    if status["best"] > 1:
        return f"{status['best']} nodes had the highest score; one of them was drawn."
    if len(ranked) < 2:
        return ""
    first, second = ranked[0], ranked[1]
    gaps = {p: first["plugins"][p] - second["plugins"][p] for p in first["plugins"]}
    told = ", ".join(f"{p} {gap:+}" for p, gap in sorted(gaps.items(), key=lambda item: -abs(item[1])) if gap)
    return f"{first['node']} is {first['total'] - second['total']} ahead of {second['node']}: {told}."


def _nearest(near: list[Obj]) -> str:
    rows: list[Sequence[object]] = [("NODE", "PLUGIN", "WHAT WOULD HAVE TO CHANGE")]
    for n in near:
        name = n["node"]
        for o in n["obstacles"]:
            rows.append((name, o["plugin"], o.get("remedy") or o["reason"]))
            name = ""
    return "The nearest nodes, as the cluster is now:\n" + columns(rows)


def _time(durations: list[Obj]) -> str:
    total = sum(d["microseconds"] for d in durations)
    if not total:
        return ""
    longest = sorted(durations, key=lambda d: -d["microseconds"])[:3]
    told = ", ".join(f"{d['plugin']} ({d['extensionPoint']}) {d['microseconds'] / 1000:.2f}" for d in longest)
    return f"It took {total / 1000:.2f} ms to decide; the longest were {told}."


def report_text(status: Obj) -> str:
    """Where pods would go: a line a pod, then the sums."""
    rows: list[Sequence[object]] = [("POD", "FROM", "NODE", "WHY")]
    for p in status["placements"]:
        why = p.get("message", "")
        if p.get("victims"):
            why = f"takes the place of {some(p['victims'])}" + (f"; {why}" if why else "")
        source = f"{p['source']} ({p['leaves']})" if p.get("leaves") else p["source"]
        rows.append((p["pod"], source, p.get("nodeName") or "<none>", why))
    parts = [columns(rows, "")] if len(rows) > 1 else []
    summary = status["summary"]
    told = f"{summary['placed']} of {summary['pods']} pods would get a node"
    if status.get("nodesAdded"):
        told += f", with {len(status['nodesAdded'])} nodes more"
    if status.get("nodesDrained"):
        told += f", without {some(status['nodesDrained'])}"
    parts.append(told + ". Nothing was changed.")
    if status.get("podsLost"):
        parts.append(f"Gone for good, because no controller makes them again: {some(status['podsLost'], 10)}.")
    if status.get("ignored"):
        parts.append(f"Not understood, and left out: {some(status['ignored'], 10)}.")
    return "\n\n".join(parts) + "\n"
