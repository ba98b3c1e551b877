"""What a container takes up while it is resized in place (KEP-1287): the largest of what it asks for, was allotted, and still has.

When a node can never give what is asked for, what is asked for does not count.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import quantity

Obj = dict[str, Any]

RESIZABLE = ("cpu", "memory")


def told_resources(pod: Obj) -> dict[str, tuple[Obj, Obj]]:
    """By container what its node has allotted and what it has, where the node tells."""
    status = pod.get("status") or {}
    listed = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    found = {s["name"]: (s.get("allocatedResources") or {}, (s.get("resources") or {}).get("requests") or {}) for s in listed}
    return {name: told for name, told in found.items() if told[0] or told[1]}


def is_infeasible(pod: Obj) -> bool:
    """Whether the node has said that it can never do the resize."""
    listed = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in listed)


def occupied_spec(pod: Obj) -> Obj:
    """The pod's spec with the requests that count; the spec itself where nothing is being resized."""
    spec: Obj = pod["spec"]
    told = told_resources(pod) if spec.get("nodeName") else {}
    if not told:
        return spec
    infeasible = is_infeasible(pod)
    changed: Obj = {}
    for key in ("containers", "initContainers"):
        listed = spec.get(key) or ()
        occupied = [_occupied(c, told[c["name"]], infeasible) if c["name"] in told else c for c in listed]
        if any(one is not other for one, other in zip(occupied, listed, strict=True)):
            changed[key] = occupied
    return {**spec, **changed} if changed else spec


def _occupied(container: Obj, told: tuple[Obj, Obj], infeasible: bool) -> Obj:
    resources = container.get("resources") or {}
    asked = resources.get("requests") or {}
    counted = dict(asked)
    for name in RESIZABLE:
        values = [source[name] for source in told if name in source]
        if name in asked and not (infeasible and values):
            values.append(asked[name])
        if values:
            largest = values[0]
            for value in values[1:]:
                largest = value if quantity.compare(value, largest) > 0 else largest
            counted[name] = largest
    same = all(quantity.compare(counted[n], asked[n]) == 0 for n in RESIZABLE if n in counted and n in asked)
    if same and counted.keys() == asked.keys():
        return container
    return {**container, "resources": {**resources, "requests": counted}}
