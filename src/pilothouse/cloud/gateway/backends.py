"""From backendRefs to pools: which Service's port is meant, how it is spoken to, and why a reference leads nowhere.

Reference: API reference, HTTPBackendRef, RouteConditionReason (ResolvedRefs); KEP-3726 for appProtocol. Only Services are backends. One of type
ExternalName is refused: it would let whoever writes routes reach what the gateway can reach (CVE-2021-25740).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.client.reconcile.objects import key
from pilothouse.cloud.gateway.backend_tls import Verdict, policy_for, verdict
from pilothouse.cloud.gateway.conditions import Told, no
from pilothouse.cloud.gateway.kinds import GROUP
from pilothouse.cloud.gateway.references import Lookup, Referrer, is_kind, namespace_of, permitted
from pilothouse.cloud.provider import Backend
from pilothouse.dataplane.model import Certificate

Obj = dict[str, Any]

#: What HTTP can be sent to, in lower case; `tcp` says nothing of what is above it.
_PLAIN = frozenset(("", "http", "tcp", "grpc", "h2c", "kubernetes.io/h2c", "kubernetes.io/ws"))
#: What it can be sent to where a policy says how TLS is to be spoken.
_OVER_TLS = frozenset(("https", "kubernetes.io/wss", "h2", "http2"))
#: What is HTTP/2, and how a plan says so.
_HTTP2 = {"grpc": "grpc", "h2c": "kubernetes.io/h2c", "kubernetes.io/h2c": "kubernetes.io/h2c"} | dict.fromkeys(
    ("h2", "http2"), "kubernetes.io/h2c"
)


class Backends:
    """The pools that a plan needs, gathered while its routes are translated, and what BackendTLSPolicies are to be told.

    `certificate` is shown to backends that are spoken to over TLS, in the name of `owner`; their pools are then this plan's alone.
    """

    def __init__(self, lookup: Lookup, certificate: Certificate | None = None, owner: str = "") -> None:
        self.lookup = lookup
        self._certificate = certificate
        self._owner = owner
        self.found: dict[str, Backend] = {}
        #: By namespace and name.
        self.verdicts: dict[str, Verdict] = {}

    def over(self, lookup: Lookup) -> Backends:
        """An empty one that looks things up there."""
        return Backends(lookup, self._certificate, self._owner)

    def alike(self, other: Backends) -> bool:
        """Whether both would make the same of the same reference."""
        return (self._certificate, self._owner) == (other._certificate, other._owner)

    def resolve(self, ref: Obj, kind: str, namespace: str) -> tuple[str, Told | None]:
        """The name of the pool for a reference from a route of this kind and namespace, "" and what is wrong where there is none."""
        if not is_kind(ref, "", "Service", "Service"):
            return "", _wrong(
                "InvalidKind", f"{ref.get('kind')} in group {ref.get('group') or 'core'} is not supported as a backend"
            )
        where, name = namespace_of(ref, namespace), ref["name"]
        if not permitted(self.lookup, Referrer(GROUP, kind, namespace), "", "Service", where, name):
            return "", _wrong("RefNotPermitted", f"no ReferenceGrant in {where} permits the reference to Service {name}")
        service = self.lookup.get(SERVICES, where, name)
        if service is None:
            return "", _wrong("BackendNotFound", f"Service {where}/{name} does not exist")
        if service["spec"].get("type") == "ExternalName":
            return "", _wrong("InvalidKind", f"Service {where}/{name} is of type ExternalName, which is not supported")
        port = next((p for p in service["spec"].get("ports") or () if p["port"] == ref.get("port")), None)
        if port is None:
            return "", _wrong("BackendNotFound", f"Service {where}/{name} has no port {ref.get('port')}")
        if port.get("protocol", "TCP") != "TCP":
            return "", _wrong("UnsupportedProtocol", f"port {port['port']} of Service {where}/{name} is {port['protocol']}")
        return self._pool(service, port, kind)

    def _pool(self, service: Obj, port: Obj, kind: str) -> tuple[str, Told | None]:
        meta = service["metadata"]
        base = f"{meta['namespace']}/{meta['name']}:{port['port']}"
        if kind == "TLSRoute":  # the bytes go on as they are
            return self._keep(Backend(f"{base}/tls", meta["namespace"], meta["name"], port["port"]))
        if kind == "Ingress":  # policies are not for Ingresses: pools of Gateways may be spoken to in another way
            base += "/ingress"
        protocol = (port.get("appProtocol") or "").lower()
        policy = policy_for(self.lookup.policies(meta["namespace"], meta["name"]), meta["name"], port.get("name") or "")
        found = self._judge(meta["namespace"], meta["name"], policy)
        if policy is not None and (found is None or found.tls is None):
            return "", None  # told of in the policy's status
        if protocol not in _PLAIN and not (found is not None and protocol in _OVER_TLS):
            return "", _wrong("UnsupportedProtocol", f"appProtocol {port['appProtocol']} of {base} is not supported")
        grpc = kind == "GRPCRoute"
        pool = f"{base}/grpc" if grpc else base
        told = "grpc" if grpc else _HTTP2.get(protocol) or (protocol if protocol.startswith("kubernetes.io/") else "")
        tls = found.tls if found else None
        if tls is not None and self._certificate is not None:
            pool, tls = f"{pool}@{self._owner}", replace(tls, certificate=self._certificate)
        return self._keep(Backend(pool, meta["namespace"], meta["name"], port["port"], told, tls))

    def _keep(self, backend: Backend) -> tuple[str, None]:
        self.found.setdefault(backend.pool, backend)
        return backend.pool, None

    def _judge(self, namespace: str, service: str, holding: Obj | None) -> Verdict | None:
        """Verdicts on all policies of a Service; the one on the policy that holds."""
        for policy in self.lookup.policies(namespace, service):
            if key(policy) not in self.verdicts:
                self.verdicts[key(policy)] = verdict(policy, self.lookup)
        return None if holding is None else self.verdicts[key(holding)]


def _wrong(reason: str, message: str) -> Told:
    return no("ResolvedRefs", reason, message)
