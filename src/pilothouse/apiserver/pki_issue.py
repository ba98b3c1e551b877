"""Making keys and certificates: the part of `pki` that needs a cryptographic library, loaded only when something is to be made."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.apiserver.pki import RENEW_DAYS, Client, Pki, write

_CA_DAYS = 3650
_LEAF_DAYS = 365


def issue(pki: Pki, now: float, hosts: Sequence[str], clients: Mapping[str, Client]) -> float:
    """Make what is missing or about to expire. When the first of the certificates expires, in seconds since the epoch."""
    today = dt.datetime.fromtimestamp(now, dt.UTC)
    ca = _authority(pki, "ca", "kubernetes", today)
    front = _authority(pki, "front-proxy-ca", "front-proxy-ca", today)
    ends = [
        _leaf(pki, "apiserver", ca, _subject("kube-apiserver", ()), today, hosts),
        _leaf(pki, "front-proxy-client", front, _subject("front-proxy-client", ()), today),
    ]
    ends += [_leaf(pki, name, ca, _subject(user, groups), today) for name, (user, groups) in clients.items()]
    _service_account_key(pki)
    return min(end.timestamp() for end in ends)


class _Authority:
    """A certificate authority that is on disk."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key


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
    write(pki.key(name), _pem(key))
    write(pki.certificate(name), certificate.public_bytes(Encoding.PEM))
    return _Authority(certificate, key)


def _leaf(pki: Pki, name: str, ca: _Authority, subject: x509.Name, today: dt.datetime, hosts: Sequence[str] = ()) -> dt.datetime:
    """A certificate for `subject`, good for some time. When it expires."""
    end = _still_good(pki, name, ca, hosts, today)
    if end is not None:
        return end
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
    certificate = builder.sign(ca.key, hashes.SHA256())
    write(pki.key(name), _pem(key))
    write(pki.certificate(name), certificate.public_bytes(Encoding.PEM))
    return certificate.not_valid_after_utc


def _still_good(pki: Pki, name: str, ca: _Authority, hosts: Sequence[str], today: dt.datetime) -> dt.datetime | None:
    """When the certificate that is there expires; None if there is none that will do."""
    path = pki.certificate(name)
    if not path.exists() or not pki.key(name).exists():
        return None
    found = _read_certificate(path)
    if found.issuer != ca.certificate.subject or found.not_valid_after_utc - today < dt.timedelta(days=RENEW_DAYS):
        return None
    complete = not hosts or {_general_name(h) for h in hosts} <= _names(found)
    return found.not_valid_after_utc if complete else None


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
    write(pki.directory / "sa.pub", public)
    write(pki.service_account_key, _pem(key))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an elliptic-curve key")
    return key
