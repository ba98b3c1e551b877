"""The documents by which others verify this cluster's service account tokens (OpenID Connect discovery)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.keys import VerifyingKey

JWKS_PATH = "/openid/v1/jwks"
CONFIGURATION_PATH = "/.well-known/openid-configuration"
JWKS_MEDIA_TYPE = "application/jwk-set+json"


def configuration(issuer: str, jwks_uri: str, keys: Sequence[VerifyingKey]) -> dict[str, Any]:
    """The discovery document. `jwks_uri` is where the keys are, as seen from outside."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({k.algorithm for k in keys}),
    }


def key_set(keys: Sequence[VerifyingKey]) -> dict[str, Any]:
    """All keys that may have signed a valid token."""
    from pilothouse.apiserver.authn.keys import jwk

    return {"keys": [jwk(k) for k in keys]}
