"""The certificates and keys of a cluster, made on first start and kept in --cert-dir.

The names of the files are kubeadm's, so that anyone finds them. Everything is ECDSA on P-256: sixteen of these cost less
than one RSA key. A file that is there, valid and right is never touched; a leaf that is about to expire, or a serving
certificate that lacks a name it now needs, is issued again from the same authority, so clients keep their trust.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_LEAF_DAYS = 365
_RENEW_DAYS = 30

#: Names by which pods and people on this machine reach the API server, whatever its addresses.
STANDARD_HOSTS = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    "::1",
)

#: File name of each client certificate -> its user and groups.
CLIENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("kubernetes-admin", ("system:masters",)),
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "nodes": ("pilothouse:nodes", ("system:masters",)),
}


@dataclass(frozen=True, slots=True)
class Pki:
    """Where everything is. Paths only: who needs bytes reads the file."""

    directory: Path

    def certificate(self, name: str) -> Path:
        """The PEM certificate called `name`: ca, apiserver, admin, controller-manager, scheduler, front-proxy-ca, ..."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    @property
    def ca(self) -> Path:
        return self.certificate("ca")

    @property
    def service_account_key(self) -> Path:
        """Signs and (its public half) verifies service account tokens."""
        return self.directory / "sa.key"


class _Authority:
    """A certificate authority that is on disk."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key


def ensure(
    directory: Path, now: float, hosts: Iterable[str] = (), extra_clients: dict[str, tuple[str, tuple[str, ...]]] | None = None
) -> Pki:
    """Make what is missing in `directory`. `hosts` are further names and addresses of the API server."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pki = Pki(directory)
    today = dt.datetime.fromtimestamp(now, dt.UTC)
    ca = _authority(pki, "ca", "kubernetes", today)
    front = _authority(pki, "front-proxy-ca", "front-proxy-ca", today)
    wanted = tuple(dict.fromkeys((*STANDARD_HOSTS, socket.gethostname(), *hosts)))
    _leaf(pki, "apiserver", ca, _subject("kube-apiserver", ()), today, hosts=wanted)
    _leaf(pki, "front-proxy-client", front, _subject("front-proxy-client", ()), today)
    for name, (user, groups) in {**CLIENTS, **(extra_clients or {})}.items():
        _leaf(pki, name, ca, _subject(user, groups), today)
    _service_account_key(pki)
    return pki


def _authority(pki: Pki, name: str, common_name: str, today: dt.datetime) -> _Authority:
    if pki.certificate(name).exists() and pki.key(name).exists():
        return _Authority(_read_certificate(pki.certificate(name)), _read_key(pki.key(name)))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(common_name, ())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(subject, subject, key.public_key(), today, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    _write(pki.key(name), _pem(key))
    _write(pki.certificate(name), certificate.public_bytes(Encoding.PEM))
    return _Authority(certificate, key)


def _leaf(pki: Pki, name: str, ca: _Authority, subject: x509.Name, today: dt.datetime, hosts: Sequence[str] = ()) -> None:
    if _still_good(pki, name, ca, hosts, today):
        return
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(subject, ca.certificate.subject, key.public_key(), today, _LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False)
    _write(pki.key(name), _pem(key))
    _write(pki.certificate(name), builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM))


def _still_good(pki: Pki, name: str, ca: _Authority, hosts: Sequence[str], today: dt.datetime) -> bool:
    path = pki.certificate(name)
    if not path.exists() or not pki.key(name).exists():
        return False
    found = _read_certificate(path)
    if found.issuer != ca.certificate.subject or found.not_valid_after_utc - today < dt.timedelta(days=_RENEW_DAYS):
        return False
    return not hosts or {_general_name(h) for h in hosts} <= _names(found)


def _names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, today: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(minutes=5))
        .not_valid_after(today + dt.timedelta(days=days))
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=not ca, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _service_account_key(pki: Pki) -> None:
    if pki.service_account_key.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(pki.directory / "sa.pub", public)
    _write(pki.service_account_key, _pem(key))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an elliptic-curve key")
    return key


def _write(path: Path, content: bytes) -> None:
    """Write in one step with mode 0600: a reader sees the old file or the new one."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def write_kubeconfig(
    path: Path, server: str, ca: bytes, *, certificate: bytes = b"", key: bytes = b"", token: str = "", name: str = "pilothouse"
) -> None:
    """A kubeconfig (mode 0600) with one context, authenticating by client certificate or by token."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if token:
        identity = f"    token: {token}\n"
    else:
        identity = f"    client-certificate-data: {_b64(certificate)}\n    client-key-data: {_b64(key)}\n"
    text = (
        "apiVersion: v1\nkind: Config\npreferences: {}\n"
        f"clusters:\n- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {_b64(ca)}\n"
        f"users:\n- name: {name}\n  user:\n{identity}"
        f"contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\n"
        f"current-context: {name}\n"
    )
    _write(path, text.encode())


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
