"""RBAC's defaults at a restart: what somebody has taken away comes back, what somebody has added stays.

An object that says autoupdate=false in its annotation is left alone. A binding that points to another role than it should is
made anew, since a roleRef cannot be changed.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.apiserver.authz.rules import uncovered
from pilothouse.apiserver.bootstrap.rbac_policy import AUTOUPDATE, GROUP, PLURALS
from pilothouse.apiserver.interface import Hub


async def ensure(hub: Hub, wanted: Obj) -> None:
    """Create a default role or binding, or bring it up to date."""
    metadata, plural = wanted["metadata"], PLURALS[wanted["kind"]]
    entry = hub.cache(GROUP, plural).get(metadata.get("namespace", ""), metadata["name"])
    if entry is None:
        await hub.create(GROUP, plural, wanted)
        return
    found = entry.obj
    if (found["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "true":
        return
    if "roleRef" in wanted and found["roleRef"] != wanted["roleRef"]:
        await hub.delete(GROUP, plural, metadata["name"], namespace=metadata.get("namespace", ""))
        await hub.create(GROUP, plural, wanted)
        return
    merged = merge(found, wanted)
    if merged != found:
        await hub.update(GROUP, plural, merged)


def merge(found: Obj, wanted: Obj) -> Obj:
    """The stored object with what it lacks of the wanted one."""
    out = {**found, "metadata": _merged_metadata(found["metadata"], wanted["metadata"])}
    if "roleRef" in wanted:
        have = found.get("subjects") or []
        missing = [s for s in wanted.get("subjects") or [] if s not in have]
        if missing:
            out["subjects"] = [*have, *missing]
        return out
    if wanted.get("aggregationRule") is not None:
        have = (found.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        missing = [s for s in wanted["aggregationRule"]["clusterRoleSelectors"] if s not in have]
        if missing:
            out["aggregationRule"] = {"clusterRoleSelectors": [*have, *missing]}
        return out
    rules = found.get("rules") or []
    missing = uncovered(rules, wanted.get("rules") or [])
    if missing:
        out["rules"] = [*rules, *missing]
    return out


def _merged_metadata(found: Obj, wanted: Obj) -> Obj:
    out = dict(found)
    for key in ("labels", "annotations"):
        have = found.get(key) or {}
        if any(k not in have for k in wanted.get(key) or {}):
            out[key] = {**(wanted.get(key) or {}), **have}
    return out
