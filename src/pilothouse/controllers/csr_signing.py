"""certificatesigningrequest-signing-controller: issues what was approved, for Kubernetes' four signers.

A request that breaks its signer's rules (`certificates.py`) is marked Failed. A certificate lasts a year, less if the request says so, and
never longer than the authority's own. Reference: "Certificates and Certificate Signing Requests".
"""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from pilothouse.client.reconcile.kinds import CERTIFICATE_SIGNING_REQUESTS
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj
from pilothouse.clock import rfc3339
from pilothouse.controllers.certificates import SIGNERS, Wanted, certificate, decided, fault, with_condition

#: --cluster-signing-duration, seconds, and how far a certificate reaches back, for clocks that differ.
LONGEST = 365 * 86400
BACKDATE = 300
SHORTEST = 600

#: The usages of the API, as bits of the KeyUsage extension and as purposes.
_BITS = {
    "digital signature": "digital_signature",
    "signing": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_PURPOSES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


class Authority:
    """A certificate authority: its certificate and key, both PEM. ValueError if they cannot be read."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self._certificate = x509.load_pem_x509_certificate(certificate)
        self._key: Any = load_pem_private_key(key, None)

    def issue(self, wanted: Wanted, seconds: float, now: float) -> bytes:
        """A certificate for what was asked, PEM; `seconds` from `now` (epoch seconds) at most."""
        today = dt.datetime.fromtimestamp(now, dt.UTC).replace(microsecond=0)
        end = min(today + dt.timedelta(seconds=seconds), self._certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(wanted.request.subject)
            .issuer_name(self._certificate.subject)
            .public_key(wanted.request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - dt.timedelta(seconds=BACKDATE))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._certificate.public_key()), critical=False)  # type: ignore[arg-type]
        )
        usage = _key_usage(wanted)
        if usage is not None:
            builder = builder.add_extension(usage, critical=True)
        purposes = [_PURPOSES[u] for u in sorted(wanted.usages) if u in _PURPOSES]
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(dict.fromkeys(purposes))), critical=False)
        if wanted.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(wanted.names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _key_usage(wanted: Wanted) -> x509.KeyUsage | None:
    bits = {_BITS[u] for u in wanted.usages if u in _BITS}
    if not bits:
        return None
    if "key_agreement" not in bits:
        bits -= {"encipher_only", "decipher_only"}
    return x509.KeyUsage(**{bit: bit in bits for bit in set(_BITS.values())})


class CSRSigningController(Controller):
    name = "certificatesigningrequest-signing-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.authority = Authority(context.options["cluster_signing_cert"], context.options["cluster_signing_key"])
        self.requests = self.cache(CERTIFICATE_SIGNING_REQUESTS)
        self.follow(self.requests)

    async def sync(self, key: str) -> None:
        csr = self.requests.get("", key)
        if csr is None or csr["spec"]["signerName"] not in SIGNERS or certificate(csr) or decided(csr) != "Approved":
            return
        try:
            wanted = Wanted.of(csr)
            why = fault(csr["spec"]["signerName"], wanted)
        except ValueError as error:
            why = str(error)
        now = self.clock.now()
        if why:
            refused = with_condition(csr, "Failed", "SignerValidationFailed", why, rfc3339(now))
        else:
            refused = self._issued(csr, wanted, now)
        await self.api.update(CERTIFICATE_SIGNING_REQUESTS, refused, "status")

    def _issued(self, csr: Obj, wanted: Wanted, now: float) -> Obj:
        seconds = min(LONGEST, max(SHORTEST, csr["spec"].get("expirationSeconds") or LONGEST))
        issued = self.authority.issue(wanted, seconds, now)
        return {**csr, "status": {**(csr.get("status") or {}), "certificate": base64.b64encode(issued).decode()}}
