"""All authenticators in the order in which Kubernetes tries them, and the rule that a wrong token is never anonymous."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.errors import unauthorized
from pilothouse.apiserver.authn.anonymous import Anonymous
from pilothouse.apiserver.authn.certificates import ClientCertificates
from pilothouse.apiserver.authn.serviceaccount import Accepted, ServiceAccountTokens, TokenRejected
from pilothouse.apiserver.authn.tokenfile import TokenFile
from pilothouse.apiserver.interface import Authenticator, Credentials, User

INVALID = "invalid bearer token"


class Union:
    """Client certificate, then bearer token, then (where allowed) anonymous. 401 for a token that nobody accepts."""

    def __init__(
        self,
        audiences: Sequence[str],
        tokens: TokenFile | None = None,
        service_accounts: ServiceAccountTokens | None = None,
        anonymous: bool = True,
    ) -> None:
        self._audiences = tuple(audiences)
        self._tokens = tokens
        self._service_accounts = service_accounts
        bearers = [a for a in (tokens, service_accounts) if a is not None]
        self._bearers: tuple[Authenticator, ...] = tuple(bearers)
        self._certificates = ClientCertificates()
        self._anonymous = Anonymous() if anonymous else None

    def authenticate(self, credentials: Credentials) -> User | None:
        user = self._certificates.authenticate(credentials)
        if user is not None:
            return user
        if credentials.bearer:
            for authenticator in self._bearers:
                user = authenticator.authenticate(credentials)
                if user is not None:
                    return user
            raise unauthorized()
        return self._anonymous.authenticate(credentials) if self._anonymous is not None else None

    def review(self, token: str, audiences: Sequence[str]) -> Accepted:
        """What a TokenReview asks: whose token this is, for these audiences (none: the API server's). TokenRejected with why."""
        wanted = tuple(audiences) or self._audiences
        if self._tokens is not None:
            user = self._tokens.authenticate(Credentials(token))
            matching = tuple(a for a in wanted if a in self._audiences)
            if user is not None and matching:
                return Accepted(user, matching)
        try:
            accepted = self._service_accounts.accept(token, wanted) if self._service_accounts is not None else None
        except TokenRejected as why:
            raise TokenRejected(f"[{INVALID}, {why}]") from None
        if accepted is None:
            raise TokenRejected(INVALID)
        return accepted
