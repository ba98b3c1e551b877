"""Which listeners a route is attached to, by each of its parentRefs, or why it is not.

Reference: API reference, ParentReference (sectionName, port), RouteConditionReason; HTTPRoute.spec.hostnames. A listener that cannot
carry traffic has routes attached all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.reconcile.objects import created_at
from pilothouse.cloud.gateway.conditions import Told, no, yes
from pilothouse.cloud.gateway.hostnames import intersection, intersections
from pilothouse.cloud.gateway.kinds import GROUP
from pilothouse.cloud.gateway.listeners import Listener, lets_in_route
from pilothouse.cloud.gateway.references import Lookup, namespace_of

Obj = dict[str, Any]


@dataclass(slots=True)
class Attachment:
    """One parentRef of a route and what came of it. `hostnames`: by listener, what is served there and the route's own name for it."""

    route: Obj
    kind: str
    ref: Obj
    accepted: Told
    hostnames: list[tuple[Listener, dict[str, str]]] = field(default_factory=list)


def age(obj: Obj) -> tuple[float, str]:
    """A sort key: the oldest first, then by namespace and name."""
    return (created_at(obj), f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")


def parent_of(ref: Obj, namespace: str) -> tuple[str, str, str] | None:
    """The Gateway or ListenerSet that a parentRef names, as kind, namespace and name; None for anything else."""
    if ref.get("group", GROUP) != GROUP:
        return None
    kind = ref.get("kind") or "Gateway"
    return (kind, namespace_of(ref, namespace), ref["name"]) if kind in ("Gateway", "ListenerSet") else None


def attach(route: Obj, kind: str, listeners: Sequence[Listener], lookup: Lookup, refused: Sequence[Obj] = ()) -> list[Attachment]:
    """One for each parentRef that names an owner of these listeners, or a ListenerSet that its Gateway refuses."""
    meta = route["metadata"]
    out: list[Attachment] = []
    for ref in route["spec"].get("parentRefs") or ():
        parent = parent_of(ref, meta["namespace"])
        own = [each for each in listeners if parent == (each.owner_kind, each.namespace, each.owner["metadata"]["name"])]
        if own:
            accepted, hostnames = _attach(route, kind, ref, own, lookup)
            out.append(Attachment(route, kind, ref, accepted, hostnames))
        elif any(parent == ("ListenerSet", s["metadata"]["namespace"], s["metadata"]["name"]) for s in refused):
            told = "the Gateway does not allow the ListenerSet"
            out.append(Attachment(route, kind, ref, no("Accepted", "NoMatchingParent", told)))
    return out


def _attach(
    route: Obj, kind: str, ref: Obj, listeners: Iterable[Listener], lookup: Lookup
) -> tuple[Told, list[tuple[Listener, dict[str, str]]]]:
    named = [
        each for each in listeners if ref.get("sectionName") in (None, "", each.name) and ref.get("port") in (None, each.port)
    ]
    if not named:
        return no("Accepted", "NoMatchingParent", f"no listener {_told(ref)}"), []
    if kind == "TLSRoute" and not any(each.protocol == "TLS" for each in named):
        return no("Accepted", "UnsupportedValue", "a TLSRoute needs a listener of protocol TLS"), []
    open_to = [each for each in named if lets_in_route(each, kind, route["metadata"]["namespace"], lookup)]
    if not open_to:
        told = f"no listener allows routes of kind {kind} from namespace {route['metadata']['namespace']}"
        return no("Accepted", "NotAllowedByListeners", told), []
    served = [(each, intersections(each.hostname, route["spec"].get("hostnames") or ())) for each in open_to]
    served = [(each, hostnames) for each, hostnames in served if hostnames]
    if not served:
        return no("Accepted", "NoMatchingListenerHostname", "no listener has a hostname in common with the route"), []
    return yes("Accepted"), served


def _told(ref: Obj) -> str:
    parts = [f"is named {ref['sectionName']}"] if ref.get("sectionName") else []
    parts += [f"has port {ref['port']}"] if ref.get("port") else []
    return " and ".join(parts) or "is there"


def settle_kinds(attachments: Sequence[Attachment]) -> None:
    """An HTTPRoute and a GRPCRoute cannot share a hostname of a listener: the older one stays (API reference: GRPCRoute.spec.hostnames)."""
    if len({each.kind for each in attachments if each.kind in ("HTTPRoute", "GRPCRoute")}) < 2:
        return
    holders: dict[int, dict[str, list[str]]] = {}
    for each in sorted(attachments, key=lambda a: age(a.route)):
        if each.kind == "TLSRoute":
            continue
        kept = [(listener, names) for listener, names in each.hostnames if not _taken(holders, listener, each.kind, names)]
        if each.hostnames and not kept:
            told = "an older route of another kind has this hostname at the listener"
            each.accepted = no("Accepted", "HostnameConflict", told)
        each.hostnames = kept
        for listener, names in kept:
            holders.setdefault(id(listener), {}).setdefault(each.kind, []).extend(names)


def _taken(holders: dict[int, dict[str, list[str]]], listener: Listener, kind: str, names: Iterable[str]) -> bool:
    held = holders.get(id(listener), {})
    others = [name for other, those in held.items() if other != kind for name in those]
    return any(intersection(one, two) is not None for one in names for two in others)
