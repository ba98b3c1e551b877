"""Bootstrap tokens: Secrets in kube-system with which nodes join before they have an identity.

Reference: "Authenticating with Bootstrap Tokens", type `bootstrap.kubernetes.io/token`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, is_deleting
from pilothouse.clock import parse_rfc3339

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
_NAME = re.compile(r"bootstrap-token-([a-z0-9]{6})")


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    secret: str


def is_token(secret: Obj) -> bool:
    return secret.get("type") == TYPE and secret["metadata"]["namespace"] == NAMESPACE


def value(secret: Obj, key: str) -> str:
    """A member of the Secret's data as text; "" where it is missing or no text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def expires_at(secret: Obj) -> float | None:
    """When the token expires, in seconds since the epoch; None for never. What is no time has expired long ago."""
    text = value(secret, "expiration")
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        return 0.0


def signing_token(secret: Obj, now: float) -> Token | None:
    """The token of a Secret, if it may sign and is good."""
    if not is_token(secret) or is_deleting(secret):
        return None
    named = _NAME.fullmatch(secret["metadata"]["name"])
    token = Token(value(secret, "token-id"), value(secret, "token-secret"))
    if named is None or named[1] != token.id or not token.secret:
        return None
    end = expires_at(secret)
    if (end is not None and end <= now) or value(secret, "usage-bootstrap-signing") != "true":
        return None
    return token
