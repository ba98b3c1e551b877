"""What certificate signing requests ask for, and which signer may grant it.

The four signers that Kubernetes has built in, with their rules on subjects, names and usages. Reference: "Certificates and Certificate
Signing Requests, Kubernetes signers".
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.x509.oid import NameOID

from pilothouse.client.reconcile.objects import Obj

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)

NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
_CLIENT_USAGES = {"client auth", "digital signature", "key encipherment"}


@dataclass(frozen=True)
class Wanted:
    """A request's contents. ValueError if it cannot be read."""

    request: x509.CertificateSigningRequest
    usages: frozenset[str]

    @classmethod
    def of(cls, csr: Obj) -> Wanted:
        pem = base64.b64decode(csr["spec"]["request"])
        return cls(x509.load_pem_x509_csr(pem), frozenset(csr["spec"].get("usages") or ()))

    @cached_property
    def common_name(self) -> str:
        return next(iter(self._subject(NameOID.COMMON_NAME)), "")

    @cached_property
    def organizations(self) -> list[str]:
        return list(self._subject(NameOID.ORGANIZATION_NAME))

    def _subject(self, oid: x509.ObjectIdentifier) -> Iterable[str]:
        return [str(each.value) for each in self.request.subject.get_attributes_for_oid(oid)]

    @cached_property
    def names(self) -> list[x509.GeneralName]:
        try:
            found = self.request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return []
        return list(found.value)

    def has(self, *kinds: type[x509.GeneralName]) -> bool:
        """Whether one of the alternative names is of these kinds."""
        return any(isinstance(name, kinds) for name in self.names)


def is_node_client(wanted: Wanted) -> bool:
    """Whether this is the client certificate of a kubelet."""
    return not fault(KUBELET_CLIENT, wanted)


def fault(signer: str, wanted: Wanted) -> str:
    """Why the signer may not grant it, "" if it may."""
    if signer == CLIENT:
        return _client_fault(wanted)
    if signer == KUBELET_CLIENT:
        named = "subjectAltNames are not allowed" if wanted.names else ""
        return _node_fault(wanted) or named or _node_usage_fault(wanted, "client auth")
    if signer == KUBELET_SERVING:
        return _node_fault(wanted) or _serving_fault(wanted)
    return ""


def _node_fault(wanted: Wanted) -> str:
    if wanted.organizations != [NODES_GROUP]:
        return "subject organization is not system:nodes"
    if not wanted.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return ""


def _client_fault(wanted: Wanted) -> str:
    if "client auth" not in wanted.usages or not wanted.usages <= _CLIENT_USAGES:
        return "usages did not match: client auth, with digital signature and key encipherment at most"
    return ""


def _serving_fault(wanted: Wanted) -> str:
    if not wanted.has(x509.DNSName, x509.IPAddress):
        return "DNS or IP subjectAltName is required"
    if wanted.has(x509.RFC822Name):
        return "Email subjectAltNames are not allowed"
    if wanted.has(x509.UniformResourceIdentifier):
        return "URI subjectAltNames are not allowed"
    return _node_usage_fault(wanted, "server auth")


def _node_usage_fault(wanted: Wanted, purpose: str) -> str:
    if wanted.usages - {"key encipherment"} != {purpose, "digital signature"}:
        return f"usages did not match: {purpose} and digital signature, with key encipherment at most"
    return ""


def decided(csr: Obj) -> str:
    """Approved, Denied or Failed; "" while nobody has decided."""
    kinds = {c["type"] for c in (csr.get("status") or {}).get("conditions") or ()}
    return next((kind for kind in ("Denied", "Failed", "Approved") if kind in kinds), "")


def certificate(csr: Obj) -> str:
    """The certificate that was issued, base64; "" for none."""
    found: str = (csr.get("status") or {}).get("certificate") or ""
    return found


def with_condition(csr: Obj, type: str, reason: str, message: str, now: str) -> Obj:
    """The request with one more condition."""
    status = csr.get("status") or {}
    told = {
        "type": type,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
    return {**csr, "status": {**status, "conditions": [*(status.get("conditions") or ()), told]}}
