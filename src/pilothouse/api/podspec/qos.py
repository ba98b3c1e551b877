"""The quality of service that a pod's requests and limits earn it (docs: "Pod Quality of Service Classes")."""

from __future__ import annotations

from pilothouse.api import quantity
from pilothouse.api.errors import Obj
from pilothouse.api.podspec.resources import COMPUTE

Amounts = dict[str, str]


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort."""
    if spec.get("resources"):
        return _of_pod(spec["resources"])
    requests: Amounts = {}
    limits: Amounts = {}
    guaranteed = True
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            resources = container.get("resources")
            if not resources:
                guaranteed = False
                continue
            _add(requests, resources.get("requests"))
            guaranteed = _add(limits, resources.get("limits")) == len(COMPUTE) and guaranteed
    return _judge(requests, limits, guaranteed)


def _of_pod(resources: Obj) -> str:
    requests: Amounts = {}
    limits: Amounts = {}
    _add(requests, resources.get("requests"))
    return _judge(requests, limits, _add(limits, resources.get("limits")) == len(COMPUTE))


def _add(total: Amounts, more: Obj | None) -> int:
    """Sum up CPU and memory; how many of the two there were."""
    found = 0
    for name in COMPUTE:
        amount = (more or {}).get(name)
        if amount is not None and quantity.sign(amount) > 0:
            total[name] = quantity.add(total[name], amount) if name in total else amount
            found += 1
    return found


def _judge(requests: Amounts, limits: Amounts, guaranteed: bool) -> str:
    if not requests and not limits:
        return "BestEffort"
    same = requests.keys() == limits.keys() and all(quantity.compare(requests[n], limits[n]) == 0 for n in requests)
    return "Guaranteed" if guaranteed and same else "Burstable"
