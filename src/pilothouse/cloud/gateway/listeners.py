"""The listeners of a Gateway and its ListenerSets: what each serves, and what is wrong with it.

Reference: API reference, Gateway.spec.listeners (distinct listeners, conflicts), ListenerConditionType; ListenerSet (whose listeners come
after those of the Gateway, the oldest set first). Conflicting listeners of one object are all refused; against an object that comes
before, only the later one is. TCP and UDP are left out: their routes are not in the standard channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.selectors import label_predicate, understood
from pilothouse.client.reconcile.kinds import NAMESPACES
from pilothouse.client.reconcile.objects import labels_of
from pilothouse.cloud.gateway.conditions import Told, no, yes
from pilothouse.cloud.gateway.hostnames import covers
from pilothouse.cloud.gateway.kinds import GROUP
from pilothouse.cloud.gateway.references import Lookup, Referrer
from pilothouse.cloud.gateway.tls_references import authorities_at, certificate_at
from pilothouse.dataplane.model import Certificate

Obj = dict[str, Any]

#: The kinds of routes that a protocol carries.
CARRIED: dict[str, tuple[str, ...]] = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute",),
}
_ACCEPTED, _DISTINCT, _RESOLVED = yes("Accepted"), no("Conflicted", "NoConflicts"), yes("ResolvedRefs")


@dataclass(slots=True)
class Listener:
    """One listener, and what has been found out about it."""

    owner_kind: str
    owner: Obj
    spec: Obj
    kinds: tuple[str, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    #: Where clients have to show a certificate: who may have signed it.
    client_authorities: str = ""
    accepted: Told = _ACCEPTED
    conflicted: Told = _DISTINCT
    resolved: Told = _RESOLVED
    overlapping: Told | None = None
    #: The accepted routes that it has, by kind, namespace and name.
    attached: set[tuple[str, str]] = field(default_factory=set)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def port(self) -> int:
        return int(self.spec["port"])

    @property
    def protocol(self) -> str:
        return str(self.spec["protocol"]).upper()

    @property
    def hostname(self) -> str:
        return self.spec.get("hostname") or ""

    @property
    def namespace(self) -> str:
        return str(self.owner["metadata"]["namespace"])

    @property
    def is_tls(self) -> bool:
        return self.protocol in ("HTTPS", "TLS")

    @property
    def passes_through(self) -> bool:
        return self.protocol == "TLS" and (self.spec.get("tls") or {}).get("mode") == "Passthrough"

    @property
    def is_usable(self) -> bool:
        """Whether it can carry traffic."""
        if not self.accepted.status or not self.kinds:
            return False
        return bool(self.certificates) or not self.is_tls or self.passes_through


def listeners_of(gateway: Obj, sets: Sequence[Obj], lookup: Lookup, served: Iterable[str]) -> list[Listener]:
    """All listeners, those of the Gateway first. `sets` are in their order of precedence; `served` are the kinds of routes there are."""
    groups = [[Listener("Gateway", gateway, spec) for spec in gateway["spec"]["listeners"]]]
    groups += [[Listener("ListenerSet", each, spec) for spec in each["spec"]["listeners"]] for each in sets]
    made = [listener for group in groups for listener in group]
    kinds = frozenset(served)
    for listener in made:
        _look(listener, gateway, lookup, kinds)
    _find_conflicts(groups)
    _find_overlaps([each for each in made if each.protocol == "HTTPS" and each.accepted.status])
    return made


def _look(listener: Listener, gateway: Obj, lookup: Lookup, served: frozenset[str]) -> None:
    """What can be said of a listener alone."""
    carried = [kind for kind in CARRIED.get(listener.protocol, ()) if kind in served]
    if not carried:
        told = f"protocol {listener.spec['protocol']} is not supported; HTTP, HTTPS and TLS are"
        listener.accepted = no("Accepted", "UnsupportedProtocol", told)
        return
    wanted = (listener.spec.get("allowedRoutes") or {}).get("kinds") or ()
    known = [k["kind"] for k in wanted if (k.get("group") or GROUP) == GROUP and k["kind"] in carried]
    listener.kinds = tuple(dict.fromkeys(known)) if wanted else tuple(carried)
    if len(known) < len(wanted):
        told = f"a listener of protocol {listener.protocol} carries {' and '.join(carried)} only"
        listener.resolved = no("ResolvedRefs", "InvalidRouteKinds", told)
    if listener.protocol == "HTTPS" and (wanted_of_clients := validation_of(gateway, listener.port)):
        _find_authorities(listener, gateway, wanted_of_clients, lookup)
    if not understood(((listener.spec.get("allowedRoutes") or {}).get("namespaces") or {}).get("selector")):
        listener.accepted = no("Accepted", "UnsupportedValue", "the selector in allowedRoutes.namespaces is not valid")
    if listener.is_tls and not listener.passes_through:
        _find_certificates(listener, lookup)


def validation_of(gateway: Obj, port: int) -> Obj:
    """What HTTPS clients have to show at a port; nothing if that is left open."""
    frontend: Obj = (gateway["spec"].get("tls") or {}).get("frontend") or {}
    own = [each["tls"] for each in frontend.get("perPort") or () if each["port"] == port]
    return (own[0] if own else frontend.get("default") or {}).get("validation") or {}


def is_insecure(validation: Obj) -> bool:
    """Whether clients come in whatever they show."""
    return validation.get("mode") == "AllowInsecureFallback"


def _find_authorities(listener: Listener, gateway: Obj, validation: Obj, lookup: Lookup) -> None:
    texts: list[str] = []
    referrer = Referrer(GROUP, "Gateway", gateway["metadata"]["namespace"])
    for ref in validation["caCertificateRefs"]:
        got = authorities_at(referrer, ref, lookup, "InvalidCACertificateKind")
        if isinstance(got, str):
            texts.append(got)
        elif listener.resolved.status:
            listener.resolved = got
    if not texts:
        listener.accepted = no("Accepted", "NoValidCACertificate", "none of the caCertificateRefs is valid")
    elif not is_insecure(validation):
        listener.client_authorities = "\n".join(texts)


def _find_certificates(listener: Listener, lookup: Lookup) -> None:
    refs = (listener.spec.get("tls") or {}).get("certificateRefs") or ()
    found: list[Certificate] = []
    problem: Told | None = None
    for ref in refs:
        got = _certificate(listener, ref, lookup)
        if isinstance(got, Certificate):
            found.append(got)
        else:
            problem = problem or got
    if not refs:
        problem = no("ResolvedRefs", "InvalidCertificateRef", "there are no certificateRefs")
    listener.certificates = tuple(found)
    if problem is not None and listener.resolved.status:
        listener.resolved = problem


def _certificate(listener: Listener, ref: Obj, lookup: Lookup) -> Certificate | Told:
    referrer = Referrer(GROUP, listener.owner_kind, listener.namespace)
    return certificate_at(referrer, ref, lookup, "InvalidCertificateRef")


# --- conflicts ---------------------------------------------------------------------------------------------------------------------


def _find_conflicts(groups: Sequence[Sequence[Listener]]) -> None:
    standing: list[Listener] = []
    for group in groups:
        known = [each for each in group if each.kinds or each.accepted.status]
        found = [(each, _conflict(each, [*(o for o in known if o is not each), *standing])) for each in known]
        for listener, reason in found:
            if reason:
                told = f"another listener on port {listener.port} has {_SAID[reason]}"
                listener.conflicted = yes("Conflicted", reason, told)
                listener.accepted = no("Accepted", reason, told)
        standing += [listener for listener, reason in found if not reason and listener.accepted.status]


_SAID = {"ProtocolConflict": "a protocol that cannot share it", "HostnameConflict": "the same hostname"}


def _conflict(listener: Listener, others: Iterable[Listener]) -> str:
    on_port = [each for each in others if each.port == listener.port]
    if any(each.is_tls != listener.is_tls for each in on_port):
        return "ProtocolConflict"
    return "HostnameConflict" if any(each.hostname == listener.hostname for each in on_port) else ""


def _find_overlaps(those: Sequence[Listener]) -> None:
    for listener in those:
        near = [each for each in those if each is not listener and each.port == listener.port]
        names = [
            each.name for each in near if covers(each.hostname, listener.hostname) or covers(listener.hostname, each.hostname)
        ]
        if names:
            told = f"clients that reuse connections may come here with requests for: {', '.join(names)}"
            listener.overlapping = yes("OverlappingTLSConfig", "OverlappingHostnames", told)


# --- whom a listener, or a Gateway, lets in ----------------------------------------------------------------------------------------------


def lets_in(namespaces: Obj, own: str, namespace: str, lookup: Lookup, default: str = "Same") -> bool:
    """Whether `allowedRoutes.namespaces` (or `allowedListeners.namespaces`) of an object in `own` allows objects of another namespace."""
    source = namespaces.get("from") or default
    if source == "Selector":
        found, selector = lookup.get(NAMESPACES, "", namespace), namespaces.get("selector")
        return found is not None and understood(selector) and label_predicate(selector)(labels_of(found))
    return source == "All" or (source == "Same" and namespace == own)


def lets_in_route(listener: Listener, kind: str, namespace: str, lookup: Lookup) -> bool:
    """Whether routes of this kind and namespace may be attached."""
    allowed = listener.spec.get("allowedRoutes") or {}
    return kind in listener.kinds and lets_in(allowed.get("namespaces") or {}, listener.namespace, namespace, lookup)
