"""The statuses of Gateways, ListenerSets, routes and policies, from what became of them.

Reference: API reference, GatewayConditionType, ListenerConditionType, ListenerSetConditionType, RouteParentStatus, PolicyAncestorStatus. Nothing
here changes what it gets; what is told already comes out equal, so that nothing is written for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.cloud.gateway.conditions import Told, merged, no, yes
from pilothouse.cloud.gateway.kinds import CONTROLLER, GROUP
from pilothouse.cloud.gateway.listeners import Listener, is_insecure, validation_of
from pilothouse.cloud.gateway.outcome import Outcome, edge_name
from pilothouse.cloud.provider import GatewayState

Obj = dict[str, Any]

#: As many as the schemas have room for.
_MOST_ADDRESSES = _MOST_ANCESTORS = 16


@dataclass(frozen=True, slots=True)
class Carried:
    """What the cloud did with a plan. Without a state it could not, which `failure` (a Programmed condition) tells."""

    state: GatewayState | None = None
    failure: Told | None = None


# --- Gateways --------------------------------------------------------------------------------------------------------------------------


def accepted(gateway: Obj, listeners: Iterable[Listener]) -> Told:
    """Whether a Gateway can be carried out at all, and whether in all its parts."""
    wrong = [
        a["type"]
        for a in gateway["spec"].get("addresses") or ()
        if (a.get("type") or "IPAddress") not in ("IPAddress", "Hostname")
    ]
    if wrong:
        return no("Accepted", "UnsupportedAddress", f"addresses of type {wrong[0]} are not supported")
    if (gateway["spec"].get("infrastructure") or {}).get("parametersRef"):
        return no("Accepted", "InvalidParameters", "infrastructure.parametersRef is not supported")
    return _summary(listeners)


def _summary(listeners: Iterable[Listener], problems: Iterable[str] = ()) -> Told:
    """Accepted, for whoever has these listeners."""
    all_of_them = list(listeners)
    bad = [each.name for each in all_of_them if not each.is_usable]
    if not bad:
        return yes("Accepted")
    told = f"not valid: {', '.join(bad)}"
    return Told("Accepted", len(bad) < len(all_of_them), "ListenersNotValid", told)


def gateway_status(gateway: Obj, out: Outcome, carried: Carried, now: str) -> Obj:
    old: Obj = gateway.get("status") or {}
    generation = gateway["metadata"]["generation"]
    own = [each for each in out.listeners if each.owner_kind == "Gateway"]
    listed = _listener_statuses(own, old, carried, generation, now)
    status = {**old, "conditions": merged(old.get("conditions"), _gateway_told(gateway, out, listed, carried), generation, now)}
    status["listeners"] = listed
    if carried.state is not None:
        status["addresses"] = list(carried.state.addresses[:_MOST_ADDRESSES])
    if out.sets or out.refused_sets or "attachedListenerSets" in old:
        status["attachedListenerSets"] = sum(1 for s in out.sets if _summary(_listeners_of(out, s)).status)
    return status


def _gateway_told(gateway: Obj, out: Outcome, listed: Sequence[Obj], carried: Carried) -> list[Told]:
    told = accepted(gateway, [each for each in out.listeners if each.owner_kind == "Gateway"])
    lost = [each["name"] for each in listed if _status_of(each, "Accepted") == "False"]
    if told.status and lost and told.reason != "ListenersNotValid":
        told = Told("Accepted", len(lost) < len(listed), "ListenersNotValid", f"not valid: {', '.join(lost)}")
    made = [told, _programmed(told, listed, carried), *([out.resolved] if out.resolved else ())]
    open_to_all = [
        each.name for each in out.listeners if each.protocol == "HTTPS" and is_insecure(validation_of(gateway, each.port))
    ]
    if open_to_all:
        message = f"clients need no valid certificate: {', '.join(open_to_all)}"
        made.append(yes("InsecureFrontendValidationMode", "ConfigurationChanged", message))
    return made


def _programmed(told: Told, listed: Sequence[Obj], carried: Carried) -> Told:
    if not told.status:
        return no("Programmed", "Invalid", told.message)
    if carried.state is None:
        return carried.failure or Told("Programmed", None, "Pending")
    if not carried.state.addresses:
        return no("Programmed", "AddressNotAssigned", "there is no address yet")
    if not any(_status_of(each, "Programmed") == "True" for each in listed):
        return no("Programmed", "Invalid", "no listener can carry traffic")
    return yes("Programmed")


def _status_of(listed: Obj, type: str) -> str:
    return next((str(c["status"]) for c in listed["conditions"] if c["type"] == type), "Unknown")


def _listener_statuses(listeners: Iterable[Listener], old: Obj, carried: Carried, generation: int, now: str) -> list[Obj]:
    before = {each["name"]: each for each in old.get("listeners") or ()}
    return [
        {
            "name": each.name,
            "supportedKinds": [{"group": GROUP, "kind": kind} for kind in each.kinds],
            "attachedRoutes": len(each.attached),
            "conditions": merged((before.get(each.name) or {}).get("conditions"), _listener_told(each, carried), generation, now),
        }
        for each in listeners
    ]


def _listener_told(listener: Listener, carried: Carried) -> list[Told]:
    edge = edge_name(listener.port)
    problem = carried.state.problems.get(edge) if carried.state is not None else None
    told = listener.accepted if problem is None else no("Accepted", "PortUnavailable", problem)
    if problem is not None or not listener.is_usable:
        programmed = no("Programmed", "Invalid", told.message or listener.resolved.message)
    elif carried.state is None:
        programmed = no("Programmed", "Pending", carried.failure.message if carried.failure else "")
    else:
        port = carried.state.moved.get(edge)
        programmed = yes("Programmed", message=f"port {listener.port} is found on port {port}" if port else "")
    return [told, listener.conflicted, listener.resolved, programmed, *([listener.overlapping] if listener.overlapping else ())]


# --- ListenerSets ----------------------------------------------------------------------------------------------------------------------


def _listeners_of(out: Outcome, owner: Obj) -> list[Listener]:
    return [each for each in out.listeners if each.owner is owner]


def listener_set_status(each: Obj, gateway: Obj, out: Outcome, carried: Carried, now: str) -> Obj:
    old: Obj = each.get("status") or {}
    generation = each["metadata"]["generation"]
    if not any(each is one for one in out.sets):
        reason, message = "NotAllowed", "the Gateway does not allow ListenerSets from this namespace"
        told = [no("Accepted", reason, message), no("Programmed", reason, message)]
        return {**old, "conditions": merged(old.get("conditions"), told, generation, now), "listeners": []}
    own = _listeners_of(out, each)
    listed = _listener_statuses(own, old, carried, generation, now)
    parent = accepted(gateway, [one for one in out.listeners if one.owner_kind == "Gateway"])
    if not parent.status:
        told = [no("Accepted", "ParentNotAccepted", parent.message), no("Programmed", "ParentNotProgrammed", parent.message)]
    else:
        told = [_summary(own), _set_programmed(_summary(own), listed, carried)]
    return {**old, "conditions": merged(old.get("conditions"), told, generation, now), "listeners": listed}


def _set_programmed(told: Told, listed: Sequence[Obj], carried: Carried) -> Told:
    if not told.status:
        return no("Programmed", "ListenersNotValid", told.message)
    if carried.state is None or not carried.state.addresses:
        return no("Programmed", "ParentNotProgrammed", carried.failure.message if carried.failure else "")
    if not any(_status_of(each, "Programmed") == "True" for each in listed):
        return no("Programmed", "ListenersNotValid", "no listener can carry traffic")
    return yes("Programmed")


# --- routes and policies ---------------------------------------------------------------------------------------------------------------


def parents(route: Obj, told: Sequence[tuple[Obj, Sequence[Told]]], now: str) -> list[Obj]:
    """status.parents of a route: ours in the order of its parentRefs, where they were; those of other controllers as they are."""
    return _entries(route, "parents", "parentRef", told, now)


def ancestors(policy: Obj, told: Sequence[tuple[Obj, Sequence[Told]]], now: str) -> list[Obj]:
    """status.ancestors of a policy, likewise."""
    return _entries(policy, "ancestors", "ancestorRef", told, now)[:_MOST_ANCESTORS]


def _entries(obj: Obj, member: str, ref_member: str, told: Sequence[tuple[Obj, Sequence[Told]]], now: str) -> list[Obj]:
    generation = obj["metadata"]["generation"]
    old: list[Obj] = (obj.get("status") or {}).get(member) or []
    before = [each for each in old if each["controllerName"] == CONTROLLER]
    ours = [
        {
            ref_member: ref,
            "controllerName": CONTROLLER,
            "conditions": merged(_conditions_of(before, ref_member, ref), conditions, generation, now),
        }
        for ref, conditions in told
    ]
    return _in_place(old, ours)


def _conditions_of(entries: Iterable[Obj], member: str, ref: Obj) -> list[Obj] | None:
    return next((each["conditions"] for each in entries if each[member] == ref), None)


def _in_place(old: Iterable[Obj], ours: Sequence[Obj]) -> list[Obj]:
    """Ours where our first one was, the others around it."""
    out: list[Obj] = []
    put = False
    for each in old:
        if each["controllerName"] != CONTROLLER:
            out.append(each)
        elif not put:
            out.extend(ours)
            put = True
    return out if put else [*out, *ours]
