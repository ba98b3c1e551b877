"""What a ResourceQuota's status should be: pure functions over the quota and the objects of its namespace.

Reference: ResourceQuota (v1), "Resource Quotas". What is counted is in `api/quota_usage`, which admission uses as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pilothouse.api import quantity
from pilothouse.api import quota_usage as usage
from pilothouse.client.reconcile.kinds import PODS, Kind
from pilothouse.client.reconcile.objects import Obj
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers.pods import is_finished


def concerned(quota: Obj, kinds: Iterable[Kind]) -> list[Kind]:
    """The kinds whose objects the quota bounds."""
    hard = quota["spec"].get("hard") or {}
    return [kind for kind in kinds if any(usage.concerns(name, kind) for name in hard)]


def counts(kind: Kind, obj: Obj, now: float) -> bool:
    """Pods that have ended, or that should have by now, use nothing."""
    if kind != PODS:
        return True
    deleted = obj["metadata"].get("deletionTimestamp")
    return not is_finished(obj) and not (deleted is not None and parse_rfc3339(deleted) < now)


def used(quota: Obj, objects: Mapping[Kind, Sequence[Obj]], now: float) -> dict[str, str]:
    """The sum of what these objects use of what the quota bounds."""
    hard = quota["spec"].get("hard") or {}
    out = {name: "0" for kind in objects for name in hard if usage.concerns(name, kind)}
    for kind, found in objects.items():
        for obj in found:
            if counts(kind, obj, now) and usage.matches(quota, kind, obj):
                for name, amount in usage.of(kind, obj).items():
                    if name in out:
                        out[name] = quantity.add(out[name], amount)
    return out


def status(quota: Obj, now_used: Mapping[str, str]) -> Obj | None:
    """The status to be; None if it says so already. Of what nobody counts the old value is kept."""
    hard = {k: quantity.canonical(v) for k, v in (quota["spec"].get("hard") or {}).items()}
    before = quota.get("status") or {}
    known = before.get("used") or {}
    wanted = {k: now_used.get(k, known.get(k)) for k in hard if k in now_used or k in known}
    same_hard = {k: quantity.canonical(v) for k, v in (before.get("hard") or {}).items()} == hard
    same_used = known.keys() == wanted.keys() and all(quantity.compare(known[k], v) == 0 for k, v in wanted.items())
    return None if same_hard and same_used and before else {**before, "hard": hard, "used": wanted}


def gives_back(kind: Kind, old: Obj, new: Obj, now: float) -> bool:
    """Whether a change of an object changes what it uses."""
    return counts(kind, old, now) != counts(kind, new, now) or usage.of(kind, old) != usage.of(kind, new)
