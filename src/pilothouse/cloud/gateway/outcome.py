"""What becomes of a Gateway: from it, its ListenerSets and its routes to a plan for the data plane and to what each of them is to be told.

A pure function of objects. Reference: API reference, Gateway, ListenerSet, HTTPRoute.spec.hostnames. A request that none of the rules of the most
specific hostname matches is given to those of the less specific ones: the data plane asks one hostname only, so the rules of wildcards
stand behind those of the names that they cover.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.reconcile.objects import annotations_of, key
from pilothouse.cloud.gateway.attachment import Attachment, age, attach, parent_of, settle_kinds
from pilothouse.cloud.gateway.backend_tls import Verdict
from pilothouse.cloud.gateway.backends import Backends
from pilothouse.cloud.gateway.conditions import Told, yes
from pilothouse.cloud.gateway.hostnames import specificity, wider
from pilothouse.cloud.gateway.kinds import GROUP
from pilothouse.cloud.gateway.listeners import Listener, lets_in, listeners_of
from pilothouse.cloud.gateway.memo import Memo
from pilothouse.cloud.gateway.references import Lookup, Referrer
from pilothouse.cloud.gateway.rules import Placed, Translated, at_port
from pilothouse.cloud.gateway.tls_references import certificate_at
from pilothouse.cloud.provider import GatewayPlan
from pilothouse.dataplane.model import Certificate, Edge, Host, Rule, Share, Site

Obj = dict[str, Any]

#: What kubectl notes for itself.
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(slots=True)
class Outcome:
    """`routes`: by kind and key, for each parentRef that leads here what it is told. `policies`: by key."""

    plan: GatewayPlan
    listeners: list[Listener]
    #: ListenerSets that are let in, and those that are not.
    sets: list[Obj]
    refused_sets: list[Obj]
    #: What is to be said of the certificate for backends; None where there is to be none.
    resolved: Told | None = None
    routes: dict[tuple[str, str], list[tuple[Obj, tuple[Told, ...]]]] = field(default_factory=dict)
    policies: dict[str, Verdict] = field(default_factory=dict)


def plan_key(gateway: Obj) -> str:
    return f"Gateway/{key(gateway)}"


def edge_name(port: int) -> str:
    """The name of a plan's edge: there is one a port."""
    return f"port-{port}"


def outcome(
    gateway: Obj, sets: Iterable[Obj], routes: Mapping[str, Iterable[Obj]], lookup: Lookup, memo: Memo | None = None
) -> Outcome:
    """`sets` and `routes` are those that name the Gateway (or its sets) as a parent; `routes` has a member for each kind that is served.

    A `memo` of the Gateway makes it quicker, and nothing else.
    """
    memo = memo or Memo()
    memo.turn()
    allowed: Obj = (gateway["spec"].get("allowedListeners") or {}).get("namespaces") or {}
    own = gateway["metadata"]["namespace"]
    in_order = sorted((s for s in sets if parent_of(s["spec"]["parentRef"], s["metadata"]["namespace"]) is not None), key=age)
    taken = [s for s in in_order if lets_in(allowed, own, s["metadata"]["namespace"], lookup, "None")]
    listeners = listeners_of(gateway, taken, lookup, routes)
    refused = [s for s in in_order if not any(s is one for one in taken)]
    out = Outcome(GatewayPlan(plan_key(gateway), (), ()), listeners, taken, refused)
    attachments = [
        a for kind, those in routes.items() for route in those for a in attach(route, kind, listeners, lookup, refused)
    ]
    settle_kinds(attachments)
    backends = Backends(lookup, _client_certificate(gateway, lookup, out), key(gateway))
    sites = _translate_all(attachments, backends, out, memo)
    out.policies = backends.verdicts
    out.plan = GatewayPlan(
        plan_key(gateway),
        tuple(_edges(listeners, sites, memo)),
        tuple(backends.found.values()),
        tuple((a.get("type") or "IPAddress", a.get("value") or "") for a in gateway["spec"].get("addresses") or ()),
        tuple(a["value"] for a in (gateway.get("status") or {}).get("addresses") or ()),
        _annotations(gateway),
    )
    return out


def _client_certificate(gateway: Obj, lookup: Lookup, out: Outcome) -> Certificate | None:
    """What the Gateway shows to backends (GEP-3155)."""
    ref = ((gateway["spec"].get("tls") or {}).get("backend") or {}).get("clientCertificateRef")
    if ref is None:
        return None
    referrer = Referrer(GROUP, "Gateway", gateway["metadata"]["namespace"])
    found = certificate_at(referrer, ref, lookup, "InvalidClientCertificateRef")
    out.resolved = found if isinstance(found, Told) else yes("ResolvedRefs")
    return None if isinstance(found, Told) else found


def _annotations(gateway: Obj) -> dict[str, str]:
    wanted: Obj = (gateway["spec"].get("infrastructure") or {}).get("annotations") or {}
    return {name: text for name, text in {**annotations_of(gateway), **wanted}.items() if name != _APPLIED}


@dataclass(slots=True)
class _Traffic:
    """What a listener is to do, by hostname: rules with their places, or where connections go."""

    rules: dict[str, list[Placed]] = field(default_factory=dict)
    tunnels: dict[str, tuple[tuple[float, str], tuple[Share, ...]]] = field(default_factory=dict)


def _translate_all(attachments: Sequence[Attachment], backends: Backends, out: Outcome, memo: Memo) -> dict[int, _Traffic]:
    traffic: dict[int, _Traffic] = {}
    made: dict[int, Translated] = {}
    for each in attachments:
        translated = made.get(id(each.route))
        if translated is None:
            translated = made[id(each.route)] = memo.translate(each.route, each.kind, backends)
        if each.accepted.status and translated.refused is not None:
            each.accepted, each.hostnames = translated.refused, []
        for listener, hostnames in each.hostnames:
            listener.attached.add((each.kind, key(each.route)))
            _add(traffic.setdefault(id(listener), _Traffic()), each, hostnames, translated)
        partial = (translated.partial,) if translated.partial is not None and each.accepted.status else ()
        told = (each.accepted, translated.resolved, *partial)
        out.routes.setdefault((each.kind, key(each.route)), []).append((each.ref, told))
    return traffic


def _add(traffic: _Traffic, each: Attachment, hostnames: Mapping[str, str], translated: Translated) -> None:
    for hostname, own in hostnames.items():
        if each.kind == "TLSRoute":
            place = age(each.route)
            if hostname not in traffic.tunnels or place < traffic.tunnels[hostname][0]:
                traffic.tunnels[hostname] = (place, translated.shares)
        else:  # of routes that come to the same name here, the one that named it more closely goes first
            before = specificity(own)
            traffic.rules.setdefault(hostname, []).extend(Placed((*before, *p.place), p.rule) for p in translated.rules)


def _edges(listeners: Iterable[Listener], traffic: Mapping[int, _Traffic], memo: Memo) -> Iterable[Edge]:
    by_port: dict[int, list[Listener]] = {}
    for listener in listeners:
        if listener.is_usable:
            by_port.setdefault(listener.port, []).append(listener)
    for port, those in sorted(by_port.items()):
        sites = tuple(_site(each, traffic.get(id(each), _Traffic()), memo) for each in those)
        yield Edge(edge_name(port), "", port, those[0].is_tls, sites)


def _site(listener: Listener, traffic: _Traffic, memo: Memo) -> Site:
    if listener.protocol == "TLS":
        tunnels = tuple((name, shares) for name, (_, shares) in sorted(traffic.tunnels.items(), key=lambda t: specificity(t[0])))
        return Site(listener.hostname, certificates=listener.certificates, tunnels=tunnels)
    hosts = tuple(_hosts(listener, traffic.rules, memo))
    return Site(listener.hostname, hosts, listener.certificates, client_authorities=listener.client_authorities)


def _hosts(listener: Listener, placed: Mapping[str, list[Placed]], memo: Memo) -> Iterable[Host]:
    owner = (listener.owner_kind, listener.namespace, listener.owner["metadata"]["name"], listener.name)
    ordered: dict[str, tuple[Rule, ...]] = {}
    names = sorted(placed, key=specificity)
    for name in names:
        rules = sorted(placed[name], key=lambda p: p.place)
        ordered[name] = tuple(at_port(p.rule, listener.port, listener.is_tls) for p in rules)
    for name in names:
        behind = (ordered[other] for other in wider(name) if other in ordered)
        yield memo.host(owner, name, tuple(rule for rules in (ordered[name], *behind) for rule in rules))
