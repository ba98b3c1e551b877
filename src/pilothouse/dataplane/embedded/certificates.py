"""TLS on both sides: certificates that end it here, chosen by the name in the handshake, and how backends are verified.

Python's `ssl` reads keys from files only, so they pass through a private folder that is gone before the call returns.
"""

from __future__ import annotations

import functools
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilothouse.dataplane.embedded.routing import Names
from pilothouse.dataplane.model import Certificate, UpstreamTls

_H2 = ["h2", "http/1.1"]


@functools.lru_cache(maxsize=256)
def server_context(certificate: Certificate, http: bool, client_authorities: str = "") -> ssl.SSLContext:
    """The settings of a server with this certificate; `http` offers its versions by ALPN, clients of authorities have to show one as well.

    ValueError if the PEM texts do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if http:
        context.set_alpn_protocols(_H2)
    _load(context, certificate)
    if client_authorities:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=client_authorities)
        except ssl.SSLError as error:
            raise ValueError(f"not certificates of authorities: {error}") from error
    return context


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    with tempfile.TemporaryDirectory(prefix="pilothouse-") as folder:
        chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        chain.write_text(certificate.chain)
        key.touch(mode=0o600)
        key.write_text(certificate.key)
        try:
            context.load_cert_chain(chain, key)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"not a certificate and its key: {error}") from error


@functools.lru_cache(maxsize=256)
def names_of(certificate: Certificate) -> tuple[str, ...]:
    """The DNS names a certificate is for. ValueError if it is none."""
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificates(certificate.chain.encode())[0]
    except ValueError as error:
        raise ValueError(f"not a certificate: {error}") from error
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    common = [str(name.value) for name in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return tuple(names) or tuple(common)


class Keyring:
    """A site's certificates: the one that names the server best, else the first."""

    def __init__(self, certificates: tuple[Certificate, ...], http: bool, client_authorities: str = "") -> None:
        contexts = [server_context(certificate, http, client_authorities) for certificate in certificates]
        self._first = contexts[0]
        named = zip(certificates, contexts, strict=True)
        self._names: Names[ssl.SSLContext] = Names(
            (name, context) for certificate, context in named for name in names_of(certificate)
        )

    def choose(self, server_name: bytes) -> ssl.SSLContext:
        return self._names.find(server_name) or self._first


def client_context(tls: UpstreamTls, http2: bool) -> ssl.SSLContext:
    """How endpoints are spoken to. ValueError for authorities that are none."""
    try:
        context = ssl.create_default_context(cadata=tls.ca or None)
    except ssl.SSLError as error:
        raise ValueError(f"not certificates of authorities: {error}") from error
    context.check_hostname = not tls.names
    if tls.certificate is not None:
        _load(context, tls.certificate)
    context.set_alpn_protocols(["h2"] if http2 else ["http/1.1"])
    return context


def has_name(certificate: Mapping[str, Any] | None, names: tuple[str, ...]) -> bool:
    """Whether a verified certificate is for one of these DNS names or URIs."""
    wanted = set(names)
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and value in wanted:
            return True
        if kind == "DNS" and any(_covers(value, name) for name in names):
            return True
    return False


def _covers(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return name.partition(".")[2].lower() == pattern[2:].lower()
    return name.lower() == pattern.lower()
