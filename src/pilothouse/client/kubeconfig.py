"""Kubeconfig files: which server, trusted how, as whom. Tokens, token files, client certificates, inline or by path."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

Obj = dict[str, Any]


class KubeconfigError(ValueError):
    """The file cannot be used; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A server with everything needed to talk to it."""

    server: str
    tls: ssl.SSLContext | None
    token: str = ""
    token_file: str = ""
    #: Trust in the server alone, without a client certificate; None: `tls` has none either.
    trust: ssl.SSLContext | None = None
    #: The name that the server's certificate must have, where that is not the one in the URL.
    server_name: str = ""

    def as_bearer(self, token: str) -> Connection:
        """The same server with this token and no other credentials: a client certificate would count for more than the token."""
        return replace(self, tls=self.trust or self.tls, token=token, token_file="")


def load(path: str | os.PathLike[str], context: str = "") -> Connection:
    """The connection that a kubeconfig's current (or named) context describes. KubeconfigError if it has none."""
    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as e:
        raise KubeconfigError(f"cannot read kubeconfig {path}: {e.strerror}") from None
    except yaml.YAMLError as e:
        raise KubeconfigError(f"kubeconfig {path} is not YAML: {str(e).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise KubeconfigError(f"kubeconfig {path} is empty")
    base = Path(path).parent
    chosen = _named(document, "contexts", context or document.get("current-context") or "", "context")
    cluster = _named(document, "clusters", chosen.get("cluster", ""), "cluster")
    user = _named(document, "users", chosen.get("user", ""), "user") if chosen.get("user") else {}
    if "exec" in user or "auth-provider" in user:
        raise KubeconfigError(f"kubeconfig {path}: exec and auth-provider credentials are not supported")
    server = cluster.get("server") or ""
    if not server.startswith(("http://", "https://")):
        raise KubeconfigError(f"kubeconfig {path}: cluster {chosen.get('cluster')!r} has no server's URL")
    secure = server.startswith("https")
    try:
        tls, trust = (make_tls(cluster, u, base) if secure else None for u in (user, {}))
    except (OSError, ValueError) as e:  # files that cannot be read, or that hold no certificates (ssl's errors are OSErrors)
        raise KubeconfigError(f"kubeconfig {path}: its certificates cannot be used: {e}") from None
    token = user.get("token") or ""
    token_file = str(base / user["tokenFile"]) if user.get("tokenFile") and not token else ""
    return Connection(server.rstrip("/"), tls, token, token_file, trust, cluster.get("tls-server-name") or "")


def in_cluster() -> Connection:
    """The connection of a pod's service account."""
    folder = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise KubeconfigError(
            "not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; give --kubeconfig"
        )
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    address = f"[{host}]" if ":" in host else host
    return Connection(f"https://{address}:{port}", tls, token_file=str(folder / "token"))


def _named(document: Obj, section: str, name: str, what: str) -> Obj:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: Obj = entry.get(what) or {}
            return found
    raise KubeconfigError(f"kubeconfig has no {what} {name!r}")


def make_tls(cluster: Obj, user: Obj, base: Path) -> ssl.SSLContext:
    """Trust and client certificate as one TLS context."""
    tls = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    elif cluster.get("certificate-authority-data"):
        tls = ssl.create_default_context(cadata=_inline(cluster, "certificate-authority-data").decode())
    elif cluster.get("certificate-authority"):
        tls = ssl.create_default_context(cafile=str(base / cluster["certificate-authority"]))
    if user.get("client-certificate-data") and user.get("client-key-data"):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name in ("client-certificate-data", "client-key-data"):
                file = Path(folder) / name
                file.touch(mode=0o600)
                file.write_bytes(_inline(user, name))
                files.append(str(file))
            tls.load_cert_chain(*files)
    elif user.get("client-certificate") and user.get("client-key"):
        tls.load_cert_chain(str(base / user["client-certificate"]), str(base / user["client-key"]))
    return tls


def _inline(entry: Obj, name: str) -> bytes:
    """A file's content from a `-data` field. Strict: with nothing to trust, TLS would trust the system's authorities."""
    content = base64.b64decode("".join(str(entry[name]).split()), validate=True)
    if not content:
        raise ValueError(f"{name} is empty")
    return content
