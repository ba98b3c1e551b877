"""Certificate signing requests: who may have which certificate, how it is issued, when a request is forgotten."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.client.reconcile.kinds import CERTIFICATE_SIGNING_REQUESTS as CSRS
from pilothouse.client.reconcile.kinds import SUBJECT_ACCESS_REVIEWS
from pilothouse.clock import rfc3339
from pilothouse.controllers import certificates
from pilothouse.controllers.csr_approving import CSRApprovingController
from pilothouse.controllers.csr_cleaner import CSRCleanerController
from pilothouse.controllers.csr_signing import CSRSigningController

from .cluster import Cluster, Obj, copy

KEY = ec.generate_private_key(ec.SECP256R1())
APPROVED = {"type": "Approved", "status": "True", "reason": "Me", "lastUpdateTime": "2026-01-01T00:00:00Z"}
CLIENT_USES = ("client auth", "digital signature")
SERVING_USES = ("server auth", "digital signature")


def csr(name: str = "system:node:n1", groups: tuple[str, ...] = ("system:nodes",), signer: str = certificates.KUBELET_CLIENT,
        usages: tuple[str, ...] = CLIENT_USES, names: tuple[x509.GeneralName, ...] = (), **spec: object) -> Obj:  # fmt: skip
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)
    asked = {
        "request": base64.b64encode(pem).decode(),
        "signerName": signer,
        "usages": list(usages),
        "username": "someone",
        **spec,
    }
    return {"metadata": {"name": "r"}, "spec": asked, "status": {}}


DNS, MAIL = x509.DNSName("n1.example"), x509.RFC822Name("a@example")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (csr(), ""),
        (csr(usages=(*CLIENT_USES, "key encipherment")), ""),
        (csr(groups=("system:masters",)), "subject organization is not system:nodes"),
        (csr(name="n1"), "subject common name does not begin with system:node:"),
        (csr(names=(DNS,)), "subjectAltNames are not allowed"),
        (csr(usages=("client auth",)), "usages did not match"),
        (csr(signer=certificates.KUBELET_SERVING, usages=SERVING_USES, names=(DNS,)), ""),
        (csr(signer=certificates.KUBELET_SERVING, usages=SERVING_USES), "DNS or IP subjectAltName is required"),
        (
            csr(signer=certificates.KUBELET_SERVING, usages=SERVING_USES, names=(DNS, MAIL)),
            "Email subjectAltNames are not allowed",
        ),
        (csr("alice", (), certificates.CLIENT, ("client auth",)), ""),
        (csr("alice", (), certificates.CLIENT, SERVING_USES), "usages did not match"),
        (csr("anything", (), certificates.LEGACY, ("code signing",)), ""),
    ],
)
def test_what_a_signer_may_grant(wanted: Obj, why: str) -> None:
    told = certificates.fault(wanted["spec"]["signerName"], certificates.Wanted.of(wanted))
    assert told.startswith(why) and bool(told) == bool(why)


class Reviewed(Cluster):
    """A cluster whose authorizer allows some subresources."""

    allowed: tuple[str, ...] = ()

    async def create(self, kind, obj, subresource=""):  # type: ignore[no-untyped-def]
        if kind == SUBJECT_ACCESS_REVIEWS:
            return {"status": {"allowed": obj["spec"]["resourceAttributes"]["subresource"] in self.allowed}}
        return await super().create(kind, obj, subresource)

    async def update(self, kind, obj, subresource=""):  # type: ignore[no-untyped-def]
        return await super().update(kind, obj, "status" if subresource == "approval" else subresource)


@pytest.mark.parametrize(
    ("wanted", "allowed", "message"),
    [
        (csr(), ("nodeclient",), "Auto approving kubelet client certificate after SubjectAccessReview."),
        (csr(username="system:node:n1"), ("selfnodeclient",), "Auto approving self kubelet client certificate after SubjectAccessReview."),
        (csr(), ("selfnodeclient",), None),
        (csr(), (), None),
        (csr(name="alice"), ("nodeclient",), None),
        (csr(signer=certificates.CLIENT), ("nodeclient",), None),
    ],
)  # fmt: skip
async def test_kubelets_client_certificates_are_approved(wanted: Obj, allowed: tuple[str, ...], message: str | None) -> None:
    async with Reviewed() as cluster:
        cluster.allowed = allowed
        cluster.start(CSRApprovingController)
        await cluster.create(CSRS, wanted)
        await cluster.settle()
        conditions = cluster.find(CSRS, "r")["status"].get("conditions") or []
        assert [(c["type"], c["reason"], c["message"]) for c in conditions] == (
            [("Approved", "AutoApproved", message)] if message else []
        )


def authority() -> dict[str, bytes]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start + dt.timedelta(days=36500)).sign(KEY, hashes.SHA256())
    )  # fmt: skip
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"cluster_signing_cert": made.public_bytes(Encoding.PEM), "cluster_signing_key": key}


async def signed(wanted: Obj) -> tuple[Obj, float]:
    async with Cluster() as cluster:
        cluster.start(CSRSigningController, **authority())
        await cluster.create(CSRS, {**wanted, "status": {"conditions": [APPROVED]}})
        await cluster.settle()
        return copy(cluster.find(CSRS, "r")["status"]), cluster.clock.now()


async def test_an_approved_request_gets_the_certificate_that_it_asks_for() -> None:
    asked = csr(signer=certificates.KUBELET_SERVING, usages=SERVING_USES, names=(DNS,), expirationSeconds=7200)
    status, now = await signed(asked)
    made = x509.load_pem_x509_certificate(base64.b64decode(status["certificate"]))
    assert made.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes" and made.issuer.rfc4514_string() == "CN=ca"
    assert list(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [DNS]
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert 7190 <= made.not_valid_after_utc.timestamp() - now <= 7200
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority()["cluster_signing_cert"]))


async def test_a_request_against_the_signers_rules_fails() -> None:
    status, _ = await signed(csr(groups=("system:masters",)))
    assert "certificate" not in status
    assert [(c["type"], c.get("reason")) for c in status["conditions"]] == [
        ("Approved", "Me"),
        ("Failed", "SignerValidationFailed"),
    ]


async def test_nothing_is_issued_before_approval_nor_for_other_signers() -> None:
    assert "certificate" not in (await signed({**csr(signer="example.com/own")}))[0]
    async with Cluster() as cluster:
        cluster.start(CSRSigningController, **authority())
        await cluster.create(CSRS, csr())
        await cluster.settle(600)
        assert cluster.find(CSRS, "r")["status"] == {}


@pytest.mark.parametrize(("decided", "hours"), [(True, 1), (False, 24)])
async def test_requests_are_forgotten(decided: bool, hours: int) -> None:
    async with Cluster() as cluster:
        cluster.start(CSRCleanerController)
        conditions = [{**APPROVED, "lastUpdateTime": rfc3339(cluster.clock.now())}] if decided else []
        await cluster.create(CSRS, {**csr(), "status": {"conditions": conditions}})
        await cluster.settle(hours * 3600 - 10)
        assert cluster.find(CSRS, "r") is not None
        await cluster.settle(2 * 3600)
        assert cluster.find(CSRS, "r") is None


class Rotated(Reviewed):
    allowed = ("selfnodeclient",)


async def test_a_week_of_renewals() -> None:
    """Three nodes ask for a day's certificate and again when four fifths of it are over: each is issued at once and forgotten in time."""
    day, nodes = 86400.0, ("n1", "n2", "n3")
    async with Rotated() as cluster:
        cluster.start(CSRApprovingController, CSRSigningController, CSRCleanerController, **authority())
        bodies = {n: csr(f"system:node:{n}", username=f"system:node:{n}", expirationSeconds=int(day)) for n in nodes}
        ends = dict.fromkeys(nodes, 0.0)
        began, renewals = cluster.clock.now(), 0
        while cluster.clock.now() < began + 7 * day:
            renewals += 1
            for name in nodes:
                await cluster.create(CSRS, {**bodies[name], "metadata": {"name": f"{name}-{renewals}"}})
            await cluster.settle()
            for name in nodes:
                status = cluster.find(CSRS, f"{name}-{renewals}")["status"]
                made = x509.load_pem_x509_certificate(base64.b64decode(status["certificate"]))
                until = made.not_valid_after_utc.timestamp()
                assert not ends[name] or ends[name] > cluster.clock.now(), "renewed before the last one was over"
                assert until > cluster.clock.now() + 0.9 * day
                ends[name] = until
            await cluster.settle(0.8 * day)
        assert renewals == 9
        await cluster.settle(2 * day)
        assert cluster.all(CSRS) == []
