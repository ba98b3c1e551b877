"""Certificates and authorities out of Secrets and ConfigMaps, checked before an engine gets them.

Reference: API reference, ListenerTLSConfig.certificateRefs (a Secret with `tls.crt` and `tls.key`), BackendTLSPolicyValidation.caCertificateRefs
(a ConfigMap with `ca.crt`). The expiry is not looked at: an expired certificate is served, and clients say so.
"""

from __future__ import annotations

import base64
import binascii
import functools
from typing import Any

from pilothouse.dataplane.model import Certificate

Obj = dict[str, Any]


class Malformed(ValueError):
    """Not what it should be; the message says what is wrong."""


def certificate_of(secret: Obj) -> Certificate:
    """The chain and key of a TLS Secret. Malformed where there are none, or where they do not belong together."""
    data = secret.get("data") or {}
    chain, key = _text(data, "tls.crt"), _text(data, "tls.key")
    _check_pair(chain, key)
    return Certificate(chain, key)


def authorities_of(config_map: Obj) -> str:
    """The PEM text under `ca.crt`. Malformed where there is none or it has no certificate."""
    text: str = (config_map.get("data") or {}).get("ca.crt") or ""
    if not text:
        raise Malformed("there is no ca.crt in it")
    _check_authorities(text)
    return text


def _text(data: Obj, name: str) -> str:
    try:
        text = base64.b64decode(data.get(name) or "").decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise Malformed(f"{name} is not PEM") from None
    if not text:
        raise Malformed(f"there is no {name} in it")
    return text


@functools.lru_cache(maxsize=512)
def _check_pair(chain: str, key: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        public = leaf.public_key()
    except ValueError:
        raise Malformed("tls.crt is not a certificate") from None
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError):
        raise Malformed("tls.key is not a private key") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise Malformed("tls.key is not the key of tls.crt")


@functools.lru_cache(maxsize=64)
def _check_authorities(text: str) -> None:
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise Malformed("ca.crt has no certificate") from None
