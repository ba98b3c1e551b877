"""TLS of simulated pods: which ports speak it, and with which certificate.

    pilothouse.dev/tls: web-tls         a Secret of type kubernetes.io/tls in the pod's namespace
    pilothouse.dev/tls: self-signed     a certificate for localhost that signs itself

It is spoken at the ports named `https` (or `https-...`) and those numbered 443 and 8443, with HTTP/2 and HTTP/1.1 by ALPN. The Secret is read when
the container starts; where it is not to be had, the certificate signs itself, and the log says so.
"""

from __future__ import annotations

import base64
import logging
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from pilothouse.nodes.behaviour import Obj

log = logging.getLogger("pilothouse.nodes")

ANNOTATION, SELF_SIGNED = "pilothouse.dev/tls", "self-signed"
PORTS = (443, 8443)
#: Reads a Secret by namespace and name; None if it is not to be had.
Read = Callable[[str, str], Awaitable[Obj | None]]


def speaks(pod: Obj, port: Obj) -> bool:
    """Whether this port of a container speaks TLS."""
    if ANNOTATION not in (pod["metadata"].get("annotations") or {}):
        return False
    name = port.get("name") or ""
    return name == "https" or name.startswith("https-") or port["containerPort"] in PORTS


async def context(pod: Obj, read: Read, now: float) -> ssl.SSLContext:
    """The server's side of handshakes."""
    meta = pod["metadata"]
    wanted = meta["annotations"][ANNOTATION]
    pair = b""
    if wanted != SELF_SIGNED:
        pair = _pair(await read(meta["namespace"], wanted))
        if not pair:
            log.warning("pod %s/%s: secret %s has no certificate: it signs one itself", meta["namespace"], meta["name"], wanted)
    try:
        return _context(pair or _own(now))
    except ssl.SSLError as error:
        log.warning(
            "pod %s/%s: secret %s cannot be used: %s: it signs one itself", meta["namespace"], meta["name"], wanted, error
        )
        return _context(_own(now))


def _own(now: float) -> bytes:
    from pilothouse.client.serving import self_signed

    return self_signed(now)


def _pair(secret: Obj | None) -> bytes:
    """Key and chain of a Secret, PEM; nothing where one is missing."""
    data = (secret or {}).get("data") or {}
    parts = [base64.b64decode(data.get(name) or "") for name in ("tls.key", "tls.crt")]
    return b"\n".join(parts) if all(parts) else b""


def _context(pair: bytes) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2", "http/1.1"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.pem"
        path.touch(mode=0o600)
        path.write_bytes(pair)
        made.load_cert_chain(path)
    return made
