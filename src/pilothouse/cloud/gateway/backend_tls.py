"""BackendTLSPolicies: which of them holds for a Service's port, and what the others are told.

Reference: API reference, BackendTLSPolicy (targetRefs, validation, conditions); GEP-1897, GEP-713 (conflicts). A policy for a port goes before one
for the whole Service; of several for the same, the oldest holds, then the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pilothouse.client.reconcile.objects import key
from pilothouse.cloud.gateway.attachment import age
from pilothouse.cloud.gateway.conditions import Told, no, yes
from pilothouse.cloud.gateway.kinds import GROUP
from pilothouse.cloud.gateway.references import Lookup, Referrer, is_kind
from pilothouse.cloud.gateway.tls_references import authorities_at
from pilothouse.dataplane.model import UpstreamTls

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy is told. `tls` is what it asks for; None where it cannot be had, so that requests must fail."""

    told: tuple[Told, ...]
    tls: UpstreamTls | None = None


def targets(policy: Obj, service: str, section: str | None) -> bool:
    """Whether a policy names this Service, or with a section this port of it."""
    return any(
        is_kind(ref, "", "Service") and ref["name"] == service and (ref.get("sectionName") or None) == section
        for ref in policy["spec"]["targetRefs"]
    )


def policy_for(policies: Iterable[Obj], service: str, port_name: str) -> Obj | None:
    """The policy that holds for a port, of those that name its Service."""
    ordered = sorted(policies, key=age)
    for section in (port_name or None, None):
        for policy in ordered:
            if targets(policy, service, section):
                return policy
    return None


def verdict(policy: Obj, lookup: Lookup) -> Verdict:
    """What is to be said of a policy, wherever it is used."""
    if not _prevails(policy, lookup):
        told = "an older policy has the same target"
        return Verdict((no("Accepted", "Conflicted", told), yes("ResolvedRefs")))
    return _checked(policy, lookup)


def _prevails(policy: Obj, lookup: Lookup) -> bool:
    """Whether it comes first for one of its targets at least."""
    namespace = policy["metadata"]["namespace"]
    for ref in policy["spec"]["targetRefs"]:
        section = ref.get("sectionName") or None
        rivals = [p for p in lookup.policies(namespace, ref["name"]) if targets(p, ref["name"], section)]
        if not rivals or key(min(rivals, key=age)) == key(policy):
            return True
    return False


def _checked(policy: Obj, lookup: Lookup) -> Verdict:
    validation = policy["spec"]["validation"]
    names = tuple(n.get("hostname") or n.get("uri") for n in validation.get("subjectAltNames") or ())
    if validation.get("wellKnownCACertificates"):
        if validation["wellKnownCACertificates"] != "System":
            told = f"wellKnownCACertificates {validation['wellKnownCACertificates']} is not known"
            return Verdict((no("Accepted", "Invalid", told), yes("ResolvedRefs")))
        return Verdict((yes("Accepted"), yes("ResolvedRefs")), UpstreamTls(validation["hostname"], names=names))
    texts, problem = _authorities(validation.get("caCertificateRefs") or (), policy["metadata"]["namespace"], lookup)
    if not texts:
        told = "none of the caCertificateRefs is valid"
        return Verdict((no("Accepted", "NoValidCACertificate", told), problem or yes("ResolvedRefs")))
    return Verdict(
        (yes("Accepted"), problem or yes("ResolvedRefs")), UpstreamTls(validation["hostname"], "\n".join(texts), names)
    )


def _authorities(refs: Iterable[Obj], namespace: str, lookup: Lookup) -> tuple[list[str], Told | None]:
    texts: list[str] = []
    problem: Told | None = None
    referrer = Referrer(GROUP, "BackendTLSPolicy", namespace)
    for ref in refs:
        got = authorities_at(referrer, ref, lookup, "InvalidKind")
        if isinstance(got, str):
            texts.append(got)
        else:
            problem = problem or got
    return texts, problem
