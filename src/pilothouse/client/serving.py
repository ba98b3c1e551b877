"""The port of a component beside the API server: /healthz, /livez, /readyz for everyone, /metrics for whom the API server lets.

Who asks is found out as Kubernetes' components do it ("delegated" authentication and authorization): a bearer token by a TokenReview, what
its user may by a SubjectAccessReview for the path. Without a certificate of its own the server makes one that signs itself. Left
out: client certificates, /configz, profiling.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.client.interface import Obj, Transport
from pilothouse.clock import Clock

ANONYMOUS: Obj = {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
ALWAYS_ALLOWED = ("/healthz", "/livez", "/readyz")
#: Seconds for which the answer of a review is remembered.
REMEMBERED = 10.0
TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Serving:
    """Where and with which certificate. Port 0: no server."""

    port: int = 0
    bind_address: str = "0.0.0.0"
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None


@dataclass(slots=True)
class ComponentServer:
    """`checks` by name say whether all is well; `metrics` is the text of /metrics."""

    serving: Serving
    transport: Transport
    clock: Clock
    metrics: Callable[[], str]
    checks: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    #: Parts of all three health endpoints, as they are when somebody asks.
    parts: Callable[[], Mapping[str, bool]] = dict
    port: int = 0
    _runner: Any = None
    _allowed: dict[tuple[str, str], tuple[float, int, str]] = field(default_factory=dict)

    async def start(self) -> None:
        """OSError if the port or the certificate cannot be had."""
        from aiohttp import web

        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self.serving.bind_address, max(0, self.serving.port), ssl_context=_context(self.serving, self.clock)
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: Any) -> Any:
        from aiohttp import web

        path = request.path
        head = "/" + path.split("/")[1]
        if head not in ALWAYS_ALLOWED:
            code, told = await self._may(request.headers.get("Authorization", ""), path)
            if code != 200:
                return web.Response(status=code, text=told + "\n", headers={"Content-Type": TEXT})
        if head in ALWAYS_ALLOWED:
            code, told = self._health(head, path[len(head) + 1 :], "verbose" in request.query)
            return web.Response(status=code, text=told, headers={"Content-Type": TEXT})
        if path == "/metrics":
            return web.Response(text=self.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
        return web.Response(status=404, text="404 page not found\n", headers={"Content-Type": TEXT})

    def _health(self, head: str, check: str, verbose: bool) -> tuple[int, str]:
        known = {"ping": lambda: True, **(self.checks if head == "/readyz" else {})}
        parts = self.parts()
        if check and check not in known and check not in parts:
            return 404, "404 page not found\n"
        results = {name: test() for name, test in known.items() if check in ("", name)}
        results |= {name: well for name, well in parts.items() if check in ("", name)}
        well = all(results.values())
        if well and not verbose:
            return 200, "ok"
        lines = [f"[+]{name} ok" if good else f"[-]{name} failed: reason withheld" for name, good in results.items()]
        ending = f"{head[1:]} check {'passed' if well else 'failed'}"
        return 200 if well else 500, "\n".join([*lines, ending]) + "\n"

    # --- who may -------------------------------------------------------------------------------------------------------------------

    async def _may(self, authorization: str, path: str) -> tuple[int, str]:
        now = self.clock.monotonic()
        known = self._allowed.get((authorization, path))
        if known is not None and now - known[0] < REMEMBERED:
            return known[1], known[2]
        answer = await self._ask(authorization, path)
        if len(self._allowed) >= 1024:
            self._allowed.clear()
        self._allowed[authorization, path] = (now, *answer)
        return answer

    async def _ask(self, authorization: str, path: str) -> tuple[int, str]:
        scheme, _, token = authorization.partition(" ")
        user = ANONYMOUS
        try:
            if scheme.lower() == "bearer" and token:
                review = await self._review("authentication.k8s.io/v1", "TokenReview", {"token": token.strip()})
                if not review.get("authenticated"):
                    return 401, "Unauthorized"
                user = review.get("user") or {}
            attributes = {"path": path, "verb": "get"}
            spec = {"user": user.get("username"), "groups": user.get("groups") or [], "nonResourceAttributes": attributes}
            review = await self._review("authorization.k8s.io/v1", "SubjectAccessReview", spec)
        except OSError as error:
            return 500, f"Internal Server Error: {error}"
        if review.get("allowed"):
            return 200, ""
        return 403, f'Forbidden: User "{user.get("username")}" cannot get path "{path}"'

    async def _review(self, version: str, kind: str, spec: Obj) -> Obj:
        body = {"apiVersion": version, "kind": kind, "spec": spec}
        answer = await self.transport.request("POST", f"/apis/{version}/{kind.lower()}s", body=body)
        if answer.status >= 300:
            raise OSError(f"{kind} answered {answer.status}")
        status: Obj = answer.body.get("status") or {}
        return status


def _context(serving: Serving, clock: Clock) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if serving.tls_cert_file is not None:
        context.load_cert_chain(serving.tls_cert_file, serving.tls_private_key_file)
        return context
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(self_signed(clock.now()))
        context.load_cert_chain(pair)
    return context


def self_signed(now: float) -> bytes:
    """A key and a certificate for localhost, good for a year, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = dt.datetime.fromtimestamp(now, dt.UTC) - dt.timedelta(hours=1)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=365))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)
