"""Certificates for tests: an authority and what it signs."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Pair:
    chain: str
    key: str

    def server_context(self, *protocols: str) -> ssl.SSLContext:
        """A server's settings that show this certificate."""
        context = self.showing(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def showing(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """The context, with this certificate to show."""
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.chain + self.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


class Authority:
    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self.chain = _pem(made.sign(self._key, hashes.SHA256()))

    def sign(self, *names: str) -> Pair:
        """A certificate for DNS names, or URIs."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:60])])
        told = [x509.UniformResourceIdentifier(n) if ":" in n else x509.DNSName(n) for n in names]
        made = self._builder(subject, key).add_extension(x509.SubjectAlternativeName(told), False)
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Pair(_pem(made.sign(self._key, hashes.SHA256())), text.decode())

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        """A client's settings that trust this authority."""
        context = ssl.create_default_context(cadata=self.chain)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365))
        )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
