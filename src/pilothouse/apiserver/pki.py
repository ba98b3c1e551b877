"""The certificates and keys of a cluster, made on first start and kept in --cert-dir.

The names of the files are kubeadm's, so that anyone finds them. Everything is ECDSA on P-256: sixteen of these cost less
than one RSA key. A file that is there, valid and right is never touched; a leaf that is about to expire, or a serving
certificate that lacks a name it now needs, is issued again from the same authority, so clients keep their trust.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Certificates are issued anew this long before they expire.
RENEW_DAYS = 30
#: What was made for whom and until when, so that a restart need not look into any certificate.
_RECORD = "pki.json"

#: A user and its groups.
Client = tuple[str, tuple[str, ...]]

#: Names by which pods and people on this machine reach the API server, whatever its addresses.
STANDARD_HOSTS = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    "::1",
)

#: File name of each client certificate -> its user and groups.
CLIENTS: dict[str, Client] = {
    "admin": ("kubernetes-admin", ("system:masters",)),
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "nodes": ("pilothouse:nodes", ("system:masters",)),
}


@dataclass(frozen=True, slots=True)
class Pki:
    """Where everything is. Paths only: who needs bytes reads the file."""

    directory: Path

    def certificate(self, name: str) -> Path:
        """The PEM certificate called `name`: ca, apiserver, admin, controller-manager, scheduler, front-proxy-ca, ..."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    @property
    def ca(self) -> Path:
        return self.certificate("ca")

    @property
    def service_account_key(self) -> Path:
        """Signs and (its public half) verifies service account tokens."""
        return self.directory / "sa.key"


def ensure(directory: Path, now: float, hosts: Iterable[str] = (), extra_clients: Mapping[str, Client] | None = None) -> Pki:
    """Make what is missing in `directory`. `hosts` are further names and addresses of the API server."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pki = Pki(directory)
    wanted = list(dict.fromkeys((*STANDARD_HOSTS, socket.gethostname(), *hosts)))
    clients = {**CLIENTS, **(extra_clients or {})}
    asked = {"hosts": sorted(wanted), "clients": {name: [user, list(groups)] for name, (user, groups) in clients.items()}}
    if not _is_made(pki, asked, now):
        from pilothouse.apiserver.pki_issue import issue

        until = issue(pki, now, wanted, clients)
        write(directory / _RECORD, json.dumps({**asked, "until": until}).encode())
    return pki


def _is_made(pki: Pki, asked: Mapping[str, object], now: float) -> bool:
    """Whether an earlier start has made just this, and it is still there and good."""
    try:
        record = json.loads((pki.directory / _RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    if {k: record.get(k) for k in asked} != asked or record.get("until", 0) - now < RENEW_DAYS * 86400:
        return False
    names = ("ca", "front-proxy-ca", "apiserver", "front-proxy-client", *record["clients"])
    files = [path for name in names for path in (pki.certificate(name), pki.key(name))]
    return pki.service_account_key.exists() and all(path.exists() for path in files)


def write(path: Path, content: bytes) -> None:
    """Write in one step with mode 0600: a reader sees the old file or the new one."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def write_kubeconfig(
    path: Path, server: str, ca: bytes, *, certificate: bytes = b"", key: bytes = b"", token: str = "", name: str = "pilothouse"
) -> None:
    """A kubeconfig (mode 0600) with one context, authenticating by client certificate or by token."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if token:
        identity = f"    token: {token}\n"
    else:
        identity = f"    client-certificate-data: {_b64(certificate)}\n    client-key-data: {_b64(key)}\n"
    text = (
        "apiVersion: v1\nkind: Config\npreferences: {}\n"
        f"clusters:\n- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {_b64(ca)}\n"
        f"users:\n- name: {name}\n  user:\n{identity}"
        f"contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\n"
        f"current-context: {name}\n"
    )
    write(path, text.encode())


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
