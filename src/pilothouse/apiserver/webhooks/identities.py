"""As whom webhooks are called: the users of a kubeconfig, named after the servers that they are for.

Reference page "Dynamic Admission Control", "Authenticate API servers": `webhook.ns.svc`, `*.example.org`, with a port where it is not 443, `*`
for everybody else, then the user of the current context; nobody in particular where there is none.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.api.errors import Obj

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Identity:
    """What one user presents: an Authorization header, a certificate with its key in PEM; "" and b"" for what it does not have."""

    authorization: str = ""
    certificate: bytes = b""
    key: bytes = b""

    def present(self, context: ssl.SSLContext) -> None:
        """Have connections of a context present the certificate."""
        if self.certificate:
            with tempfile.NamedTemporaryFile() as file:  # readable by its owner alone
                file.write(self.certificate + b"\n" + self.key)
                file.flush()
                context.load_cert_chain(file.name)


NOBODY = Identity()


class Identities:
    """The users of a kubeconfig."""

    def __init__(self, document: Obj, folder: Path) -> None:
        self._users = {str(u.get("name")): _identity(u.get("user") or {}, folder) for u in document.get("users") or ()}
        contexts = {c.get("name"): (c.get("context") or {}).get("user") for c in document.get("contexts") or ()}
        self._default = self._users.get("*") or self._users.get(str(contexts.get(document.get("current-context")))) or NOBODY

    @staticmethod
    def load(path: Path) -> Identities:
        """ValueError, in one line, for a file that makes no sense; OSError for one that cannot be read."""
        from pilothouse.api.yamltext import settings

        document = settings(path.read_text(), str(path))
        if not isinstance(document, dict):
            raise ValueError(f"{path}: want a kubeconfig")
        try:
            return Identities(document, path.parent)
        except (AttributeError, TypeError, binascii.Error) as error:
            raise ValueError(f"{path}: want a kubeconfig: {error}") from None

    def of(self, host: str, port: int) -> Identity:
        """As whom a server is called."""
        for name in _names(host, port):
            found = self._users.get(name)
            if found is not None:
                return found
        return self._default


def _names(host: str, port: int) -> Iterator[str]:
    """The names under which a server may have a user, the closest first."""
    for target in (f"{host}:{port}", host) if port == 443 else (f"{host}:{port}",):
        yield target
        parts = target.split(".")
        yield from ("*." + ".".join(parts[n:]) for n in range(1, len(parts)))


def _identity(user: Obj, folder: Path) -> Identity:
    token = user.get("token") or (_file(user["tokenFile"], folder).decode().strip() if user.get("tokenFile") else "")
    authorization = f"Bearer {token}" if token else ""
    if not token and user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Identity(authorization, _pem(user, "client-certificate", folder), _pem(user, "client-key", folder))


def _pem(user: Obj, key: str, folder: Path) -> bytes:
    data = user.get(f"{key}-data")
    if data:
        return base64.b64decode(data)
    return _file(user[key], folder) if user.get(key) else b""


def _file(name: str, folder: Path) -> bytes:
    return (folder / name).read_bytes()
