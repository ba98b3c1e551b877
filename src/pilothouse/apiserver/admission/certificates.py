"""CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may do what with certificate requests.

Approving and signing need the verbs approve and sign on the request's signer (or on all of its domain). Nobody gets a client
certificate of the group system:masters by asking for one.
"""

from __future__ import annotations

import base64

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Attributes, Hub, User, Verdict

GROUP = "certificates.k8s.io"
_REQUESTS = (GROUP, "certificatesigningrequests")


def may(hub: Hub, user: User, verb: str, signer: str) -> bool:
    """Whether a user may `verb` for a signer, by its own name or by that of its domain."""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        asked = Attributes(user, verb, GROUP, "*", "signers", name=name)
        if hub.authorize(asked)[0] is Verdict.ALLOW:
            return True
    return False


class CertificateApproval(AdmissionPlugin):
    name = "CertificateApproval"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "UPDATE" and resource.group_resource == _REQUESTS and subresource == "approval"

    async def validate(self, request: AdmissionRequest) -> None:
        signer = (request.obj or {})["spec"].get("signerName", "")
        if not may(self.hub, request.user, "approve", signer):
            raise refuse(request, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(AdmissionPlugin):
    name = "CertificateSigning"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "UPDATE" and resource.group_resource == _REQUESTS and subresource == "status"

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.obj is not None and request.old is not None
        new, old = request.obj.get("status") or {}, request.old.get("status") or {}
        if new.get("certificate") == old.get("certificate") and new.get("conditions") == old.get("conditions"):
            return
        signer = request.old["spec"].get("signerName", "")
        if not may(self.hub, request.user, "sign", signer):
            raise refuse(request, f'user not permitted to sign requests with signerName "{signer}"')


class CertificateSubjectRestriction(AdmissionPlugin):
    name = "CertificateSubjectRestriction"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource == _REQUESTS and not subresource

    async def validate(self, request: AdmissionRequest) -> None:
        spec: Obj = (request.obj or {})["spec"]
        if spec.get("signerName") != "kubernetes.io/kube-apiserver-client":
            return
        if "system:masters" in _organizations(base64.b64decode(spec.get("request") or "")):
            why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
            raise refuse(request, why)


def _organizations(pem: bytes) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_pem_x509_csr(pem).subject
    return [str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
