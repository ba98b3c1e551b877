"""What references to certificates and authorities lead to, or what is to be said of those that lead nowhere.

Reference: API reference, SecretObjectReference, ObjectReference; reasons of the condition ResolvedRefs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SECRETS, Kind
from pilothouse.cloud.gateway.certificates import Malformed, authorities_of, certificate_of
from pilothouse.cloud.gateway.conditions import Told, no
from pilothouse.cloud.gateway.references import Lookup, Referrer, is_kind, namespace_of, permitted
from pilothouse.dataplane.model import Certificate

Obj = dict[str, Any]
T = TypeVar("T")


def certificate_at(referrer: Referrer, ref: Obj, lookup: Lookup, reason: str) -> Certificate | Told:
    """A Secret's chain and key; `reason` is for all but a lack of permission."""
    if not is_kind(ref, "", "Secret", "Secret"):
        return _wrong_kind("certificates", SECRETS, ref, reason)
    return _read(referrer, ref, lookup, SECRETS, certificate_of, reason)


def authorities_at(referrer: Referrer, ref: Obj, lookup: Lookup, wrong_kind: str) -> str | Told:
    """A ConfigMap's PEM text; `wrong_kind` is the reason where it is something else."""
    if not is_kind(ref, "", "ConfigMap"):
        return _wrong_kind("authorities", CONFIG_MAPS, ref, wrong_kind)
    return _read(referrer, ref, lookup, CONFIG_MAPS, authorities_of, "InvalidCACertificateRef")


def _wrong_kind(what: str, wanted: Kind, ref: Obj, reason: str) -> Told:
    told = f"{what} come from {wanted.kind}s, not from {ref.get('kind')} in group {ref.get('group') or 'core'}"
    return no("ResolvedRefs", reason, told)


def _read(referrer: Referrer, ref: Obj, lookup: Lookup, kind: Kind, read: Callable[[Obj], T], reason: str) -> T | Told:
    namespace, name = namespace_of(ref, referrer.namespace), ref["name"]
    if not permitted(lookup, referrer, "", kind.kind, namespace, name):
        told = f"no ReferenceGrant in {namespace} permits the reference to {kind.kind} {name}"
        return no("ResolvedRefs", "RefNotPermitted", told)
    found = lookup.get(kind, namespace, name)
    try:
        if found is None:
            raise Malformed("it does not exist")
        return read(found)
    except Malformed as error:
        return no("ResolvedRefs", reason, f"{kind.kind} {namespace}/{name}: {error}")
