"""Keys that sign and verify service account tokens, and how they are published (RFC 7517).

A key's id is the URL-safe base64 of the SHA-256 of its public half in DER, as Kubernetes has it, so that tokens and documents
of both can be told apart by the same rule.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key

from pilothouse.apiserver.authn.jws import BadToken, header_of

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, its id and the one algorithm that it is used with."""

    key: PublicKey
    id: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that new tokens are signed with."""

    key: PrivateKey
    id: str
    algorithm: str


def load_signing_key(path: Path) -> SigningKey:
    """A PEM private key. ValueError for anything but RSA and ECDSA."""
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError(f"{path}: service account keys must be RSA or ECDSA")
    public = _verifying(key.public_key())
    return SigningKey(key, public.id, public.algorithm)


def load_verifying_keys(path: Path) -> list[VerifyingKey]:
    """All keys of a PEM file: public keys, private keys (their public half) and certificates."""
    found = [_public_key(block) for block in _blocks(path.read_bytes())]
    keys = [_verifying(k) for k in found if isinstance(k, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)]
    if not keys:
        raise ValueError(f"{path}: no RSA or ECDSA keys")
    return keys


def _blocks(pem: bytes) -> list[bytes]:
    marker = b"-----BEGIN "
    return [marker + part for part in pem.split(marker)[1:]]


def _public_key(block: bytes) -> Any:
    if block.startswith(b"-----BEGIN CERTIFICATE"):
        from cryptography.x509 import load_pem_x509_certificate

        return load_pem_x509_certificate(block).public_key()
    if b"PRIVATE KEY-----" in block.splitlines()[0]:
        return load_pem_private_key(block, None).public_key()
    return load_pem_public_key(block)


def _verifying(key: PublicKey) -> VerifyingKey:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    identifier = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    algorithm = "RS256" if isinstance(key, rsa.RSAPublicKey) else _EC_ALGORITHMS[key.curve.name]
    return VerifyingKey(key, identifier, algorithm)


def sign(claims: dict[str, Any], key: SigningKey) -> str:
    """A signed token with these claims."""
    import jwt

    return jwt.encode(claims, key.key, algorithm=key.algorithm, headers={"kid": key.id, "typ": None})


def verify(token: str, keys: Sequence[VerifyingKey]) -> dict[str, Any]:
    """The claims of a token whose signature is right. What the claims say (issuer, times, audience) is not looked at."""
    import jwt

    wanted = header_of(token).get("kid")
    known = any(k.id == wanted for k in keys)
    for key in keys:
        if wanted and known and key.id != wanted:
            continue
        try:
            claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=[key.algorithm], options=_SIGNATURE_ONLY)
            return claims
        except (jwt.InvalidTokenError, InvalidSignature):
            continue
    raise BadToken


_SIGNATURE_ONLY: Any = {
    "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False, "verify_sub": False,
    "verify_jti": False,
}  # fmt: skip


def jwk(key: VerifyingKey) -> dict[str, str]:
    """A public key as a JSON Web Key for signatures."""
    head = {"use": "sig", "kty": "", "kid": key.id, "alg": key.algorithm}
    if isinstance(key.key, rsa.RSAPublicKey):
        rsa_numbers = key.key.public_numbers()
        return {**head, "kty": "RSA", "n": _number(rsa_numbers.n), "e": _number(rsa_numbers.e)}
    numbers = key.key.public_numbers()
    size = (key.key.key_size + 7) // 8
    name = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[key.algorithm]
    return {**head, "kty": "EC", "crv": name, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}


def _number(value: int, size: int = 0) -> str:
    raw = value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
