"""Service account tokens: signed by the cluster, valid as long as what they are bound to exists.

Two forms. Bound tokens (TokenRequest, projected volumes) name an issuer, audiences, an expiry, the account and optionally the
pod, secret or node they die with. Legacy tokens live in a Secret of type kubernetes.io/service-account-token and are valid as
long as that Secret holds them. A signature is verified once and remembered; that the account, pod, secret and node are still
the same is looked up in the hub's caches every time, so a revoked token stops at once.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import Obj, not_found_error, unauthorized
from pilothouse.apiserver.authn.groups import AUTHENTICATED
from pilothouse.apiserver.authn.jws import BadToken, claims_of
from pilothouse.apiserver.interface import Credentials, Hub, User
from pilothouse.clock import parse_rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.keys import VerifyingKey

LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"
_REMEMBERED = 8192
#: A deleted object still vouches for its tokens this long, so that a pod can use its token while it is being stopped.
_LEEWAY_SECONDS = 60.0
_INVALIDATED = "service account token has been invalidated"


class TokenRejected(Exception):
    """Why a token that is ours is not valid."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A valid token's user, and those of the wanted audiences that it is for."""

    user: User
    audiences: tuple[str, ...]


class ServiceAccountTokens:
    """Authenticates service accounts. `keys` is called when the first token is presented."""

    def __init__(
        self, hub: Hub, issuers: Sequence[str], audiences: Sequence[str], keys: Callable[[], Sequence[VerifyingKey]]
    ) -> None:
        self._hub = hub
        self._issuers = frozenset(issuers)
        self._audiences = tuple(audiences)
        self._keys = keys
        self._verified: dict[str, dict[str, Any]] = {}

    def authenticate(self, credentials: Credentials) -> User | None:
        if not credentials.bearer:
            return None
        try:
            accepted = self.accept(credentials.bearer, self._audiences)
        except TokenRejected:
            raise unauthorized() from None
        return accepted.user if accepted is not None else None

    def accept(self, token: str, audiences: Sequence[str]) -> Accepted | None:
        """The token's user; None if it is not one of ours; TokenRejected if it is, but not valid (any more, or here)."""
        claims = self._claims(token)
        if claims is None:
            return None
        if claims.get("iss") == LEGACY_ISSUER:
            return self._accept_legacy(token, claims, audiences)
        return self._accept_bound(claims, audiences)

    def _claims(self, token: str) -> dict[str, Any] | None:
        found = self._verified.get(token)
        if found is not None:
            return found
        issuer = claims_of(token).get("iss")
        if issuer != LEGACY_ISSUER and issuer not in self._issuers:
            return None
        from pilothouse.apiserver.authn.keys import verify

        try:
            claims = verify(token, self._keys())
        except BadToken:
            return None
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[token] = claims
        return claims

    # --- bound tokens -------------------------------------------------------------------------------------------------------

    def _accept_bound(self, claims: dict[str, Any], audiences: Sequence[str]) -> Accepted:
        own = claims.get("aud") or ()
        own = (own,) if isinstance(own, str) else tuple(own)
        matching = tuple(a for a in audiences if a in own)
        if not matching:
            raise TokenRejected(f"token audiences {_quoted(own)} is invalid for the target audiences {_quoted(audiences)}")
        self._check_times(claims)
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        self._live_account(namespace, account.get("name", ""), account.get("uid", ""))
        extra = self._extra(namespace, private)
        if claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        return Accepted(service_account_user(namespace, account["name"], account["uid"], extra), matching)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._hub.clock.now()
        if now >= claims.get("exp", 0):
            raise TokenRejected("service account token has expired")
        if now + 1 < claims.get("nbf", 0):
            raise TokenRejected("service account token is not valid yet")

    def _live_account(self, namespace: str, name: str, uid: str) -> Obj:
        found = self._find("serviceaccounts", namespace, name)
        if found is None:
            raise TokenRejected(not_found_error("", "serviceaccounts", name).message)
        self._check_alive(found)
        if found["metadata"]["uid"] != uid:
            raise TokenRejected(f"service account UID ({found['metadata']['uid']}) does not match claim ({uid})")
        return found

    def _extra(self, namespace: str, private: dict[str, Any]) -> dict[str, tuple[str, ...]]:
        """What the bound objects add to the user, once they are known to be alive."""
        extra: dict[str, tuple[str, ...]] = {}
        for kind, plural, where in (("pod", "pods", namespace), ("secret", "secrets", namespace), ("node", "nodes", "")):
            bound = private.get(kind)
            if not bound:
                continue
            found = self._find(plural, where, bound.get("name", ""))
            mismatch = found is not None and found["metadata"]["uid"] != bound.get("uid")
            if kind != "node" or "pod" not in private:
                if found is None or mismatch:
                    raise TokenRejected(_INVALIDATED)
                self._check_alive(found)
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (bound.get("name", ""),)
                if bound.get("uid"):
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (bound["uid"],)
        return extra

    def _check_alive(self, obj: Obj) -> None:
        deleted = obj["metadata"].get("deletionTimestamp")
        if deleted and parse_rfc3339(deleted) + _LEEWAY_SECONDS < self._hub.clock.now():
            raise TokenRejected(_INVALIDATED)

    # --- legacy tokens --------------------------------------------------------------------------------------------------------

    def _accept_legacy(self, token: str, claims: dict[str, Any], audiences: Sequence[str]) -> Accepted:
        namespace = claims.get(f"{_LEGACY}namespace", "")
        secret = self._find("secrets", namespace, claims.get(f"{_LEGACY}secret.name", ""))
        if secret is None or secret["metadata"].get("deletionTimestamp"):
            raise TokenRejected("service account token has been invalidated")
        held = (secret.get("data") or {}).get("token", "")
        if base64.b64decode(held) != token.encode():
            raise TokenRejected("service account token does not match server's copy")
        name, uid = claims.get(f"{_LEGACY}service-account.name", ""), claims.get(f"{_LEGACY}service-account.uid", "")
        self._live_account(namespace, name, uid)
        matching = tuple(a for a in audiences if a in self._audiences)
        return Accepted(service_account_user(namespace, name, uid, {}), matching)

    def _find(self, plural: str, namespace: str, name: str) -> Obj | None:
        entry = self._hub.cache("", plural).get(namespace, name)
        return entry.obj if entry is not None else None


def service_account_user(namespace: str, name: str, uid: str, extra: dict[str, tuple[str, ...]]) -> User:
    """The identity of a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{v}"' for v in values) + "]"
