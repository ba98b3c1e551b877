"""Client certificates: the subject's common name is the user, its organizations are the groups.

The TLS layer has verified the certificate against --client-ca-file before anything here sees it.
"""

from __future__ import annotations

from pilothouse.apiserver.authn.groups import authenticated
from pilothouse.apiserver.interface import Credentials, User


class ClientCertificates:
    """Accepts any verified certificate that has a common name."""

    def authenticate(self, credentials: Credentials) -> User | None:
        if credentials.certificate is None:
            return None
        name, organizations = credentials.certificate
        return authenticated(User(name, organizations)) if name else None
