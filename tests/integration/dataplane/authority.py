"""Certificates for tests: an authority of our own, and what it signs."""

from __future__ import annotations

import copy
import datetime as dt
import functools
import ipaddress
import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pilothouse.dataplane.model import Certificate

_FROM, _TO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2120, 1, 1, tzinfo=dt.UTC)


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """Signs certificates; `context` trusts it."""

    _shown: Certificate | None = None

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        builder = builder.add_extension(usage, True)
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(self._identifier, False)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        return builder.serial_number(x509.random_serial_number()).not_valid_before(_FROM).not_valid_after(_TO)

    @functools.cache  # noqa: B019
    def certificate(self, *names: str) -> Certificate:
        """For DNS names, addresses or URIs."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")]), key)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
        builder = builder.add_extension(issuer, False)
        signed = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return Certificate(signed, private)

    def showing(self, *names: str) -> Authority:
        """The same, with clients that show a certificate."""
        made = copy.copy(self)
        made._shown = self.certificate(*names)
        return made

    def context(self, *alpn: str) -> ssl.SSLContext:
        """A client's, that trusts this authority."""
        context = ssl.create_default_context(cadata=self.pem)
        if self._shown is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(self._shown.chain + self._shown.key)
                file.flush()
                context.load_cert_chain(file.name)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def server(self, *names: str, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A backend's, with a certificate for these names."""
        from pilothouse.dataplane.embedded.certificates import server_context

        context = server_context.__wrapped__(self.certificate(*names), False)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context
