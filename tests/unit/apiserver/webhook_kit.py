"""A webhook server as people run one: HTTPS with a certificate of an authority of its own, in this process."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import ipaddress
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .kit import Caller

Obj = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
_NAMES = ("localhost", "hook.default.svc")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: str, issuer: str, key: Any, signer: Any, *extensions: x509.ExtensionType) -> bytes:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@functools.cache
def authority(name: str) -> tuple[Any, bytes]:
    """The key and certificate of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=None))


def bundle(name: str = "hooks") -> str:
    """An authority's certificate, as configurations of webhooks have it."""
    return base64.b64encode(authority(name)[1]).decode()


@functools.cache
def _tls() -> ssl.SSLContext:
    signer, _ = authority("hooks")
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(n) for n in _NAMES] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = _certificate("hook", "hooks", key, signer, x509.SubjectAlternativeName(names))
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder = Path(tempfile.mkdtemp(prefix="pilothouse-hooks-"))
    (folder / "tls.pem").write_bytes(certificate + plain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    context.load_verify_locations(cadata=authority("hooks")[1].decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


#: What a path of the server does with a question.
Decide = Callable[[Obj], Obj | Awaitable[Obj]]


class Hooks:
    """The server: a function for each path, what it was asked, and over how many connections."""

    def __init__(self, port: int, paths: dict[str, Decide]) -> None:
        self.port = port
        self.paths = paths
        self.asked: list[Obj] = []
        #: The Authorization header of each call, and the name in its client certificate.
        self.callers: list[tuple[str, str]] = []
        self.connections: set[Any] = set()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.callers.append((request.headers.get("Authorization", ""), _peer(request)))
        self.connections.add(request.transport)
        answer = self.paths[request.path](body)
        if not isinstance(answer, dict):
            answer = await answer
        if isinstance(answer.get("http"), int):
            return web.Response(status=answer["http"], text=answer["text"])
        return web.json_response(answer)

    def client(self, path: str = "/", **more: Any) -> Obj:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": bundle(), **more}


def _peer(request: web.Request) -> str:
    certificate = request.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if names else ""


def client_files(folder: Path, name: str) -> tuple[Path, Path]:
    """A client's certificate and key, of the webhooks' authority."""
    signer, _ = authority("hooks")
    key = ec.generate_private_key(ec.SECP256R1())
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "client.crt").write_bytes(_certificate(name, "hooks", key, signer))
    (folder / "client.key").write_bytes(plain)
    return folder / "client.crt", folder / "client.key"


@asynccontextmanager
async def hooks(**paths: Decide) -> AsyncIterator[Hooks]:
    """A running server with the paths `/<name>`."""
    found = Hooks(0, {f"/{name}": decide for name, decide in paths.items()})
    app = web.Application()
    app.router.add_post("/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls())
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


def allow(review: Obj, **response: Any) -> Obj:
    """Let it in."""
    return {**review, "request": None, "response": {"uid": review["request"]["uid"], "allowed": True, **response}}


def deny(review: Obj, **status: Any) -> Obj:
    return allow(review, allowed=False, status=status)


def patch(review: Obj, *operations: Obj, **more: Any) -> Obj:
    return allow(review, patchType="JSONPatch", patch=base64.b64encode(json.dumps(operations).encode()).decode(), **more)


def config(name: str = "a", **metadata: Any) -> Obj:
    """A ConfigMap."""
    return {"metadata": {"name": name, **metadata}, "data": {"k": "v"}}


def webhook(client: Obj, name: str = "a.example.com", **more: Any) -> Obj:
    return {
        "name": name,
        "clientConfig": client,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [RULE],
        **more,
    }


async def configure(call: Caller, kind: str, *webhooks: Obj, name: str = "w") -> None:
    """Have webhooks called: `kind` is validating or mutating."""
    got = await call("POST", f"{GROUP}/{kind}webhookconfigurations", {"metadata": {"name": name}, "webhooks": list(webhooks)})
    assert got.code == 201, got.body
