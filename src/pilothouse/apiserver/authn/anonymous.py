"""Who presents no credentials is system:anonymous. What that user may do is for authorization to say: health and version."""

from __future__ import annotations

from pilothouse.apiserver.authn.groups import ANONYMOUS
from pilothouse.apiserver.interface import Credentials, User


class Anonymous:
    """The last authenticator: accepts whoever presents nothing. Wrong credentials never get here."""

    def authenticate(self, credentials: Credentials) -> User | None:
        return ANONYMOUS if credentials.bearer is None else None
