"""Tokens as texts (RFC 7519): what they say, before anybody has looked at their signature.

Apart from the keys that sign and verify, so that a server whose clients use no such tokens never loads a cryptographic library.
"""

from __future__ import annotations

import base64
import json
from typing import Any


class BadToken(Exception):
    """The token is not one that these keys have signed."""


def header_of(token: str) -> dict[str, Any]:
    """The header of a token, unverified; empty if it is none."""
    return _part(token, 0)


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token, unverified; empty if it is none."""
    return _part(token, 1)


def _part(token: str, index: int) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[index] + "=" * (-len(parts[index]) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
