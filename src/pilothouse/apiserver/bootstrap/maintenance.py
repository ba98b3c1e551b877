"""Priority levels and flow schemas, kept while the server runs: to be called every minute.

API Priority and Fairness, "Maintenance of the mandatory and suggested configuration objects": deletion is not respected; the specification
of a suggested object is the server's as long as the object says so, or nobody has changed it.
"""

from __future__ import annotations

import copy

from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.bootstrap import flowcontrol
from pilothouse.apiserver.interface import Hub

#: Both kinds have objects of these names that must be there as they are.
_MANDATORY = frozenset(("exempt", "catch-all"))


async def keep_flow_control(hub: Hub) -> None:
    """Make what is missing, put right what is the server's, and take away what no server of this version would make."""
    for plural, wanted in (
        ("prioritylevelconfigurations", flowcontrol.priority_levels()),
        ("flowschemas", flowcontrol.flow_schemas()),
    ):
        cache = hub.cache(flowcontrol.GROUP, plural)
        names = {obj["metadata"]["name"] for obj in wanted}
        for obj in wanted:
            entry = cache.get("", obj["metadata"]["name"])
            await _keep(hub, plural, obj, entry.obj if entry is not None else None)
        for stored in [entry.obj for entry in cache.list()]:
            if stored["metadata"]["name"] not in names and _autoupdated(stored) == "true":
                await hub.delete(flowcontrol.GROUP, plural, stored["metadata"]["name"])


async def _keep(hub: Hub, plural: str, wanted: Obj, found: Obj | None) -> None:
    try:
        if found is None:
            await hub.create(flowcontrol.GROUP, plural, copy.deepcopy(wanted), manager=flowcontrol.PRODUCER)
        elif _is_ours(found) and found["spec"] != wanted["spec"] and not _only_exempt_differs(found, wanted):
            await hub.update(flowcontrol.GROUP, plural, {**found, "spec": wanted["spec"]}, manager=flowcontrol.PRODUCER)
    except StatusError as error:
        if error.code not in (404, 409):  # another server was faster
            raise


def _is_ours(found: Obj) -> bool:
    """Whether the specification is the server's: always, if the object says so, or while it says nothing and is as it was made."""
    said = _autoupdated(found)
    if found["metadata"]["name"] in _MANDATORY or said == "true":
        return True
    return said != "false" and found["metadata"].get("generation", 1) == 1


def _only_exempt_differs(found: Obj, wanted: Obj) -> bool:
    """How much the exempt level lends is the users' to say."""
    return found["metadata"]["name"] == "exempt" and {**found["spec"], "exempt": None} == {**wanted["spec"], "exempt": None}


def _autoupdated(obj: Obj) -> str:
    text: str = (obj["metadata"].get("annotations") or {}).get("apf.kubernetes.io/autoupdate-spec", "")
    return text
