"""The client that calls webhooks: JSON by POST over TLS, on connections that are kept.

What goes wrong is told as the reference tells it, because people look for these sentences. Timeouts are the network's, in real time.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from pilothouse.api.errors import Obj, quote
from pilothouse.apiserver.webhooks.address import Place, Unreachable, place, shown
from pilothouse.apiserver.webhooks.identities import NOBODY, Identities, Identity

if TYPE_CHECKING:
    import aiohttp

    from pilothouse.apiserver.server import ApiServer

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "kube-apiserver-admission"}
#: How long an idle connection is kept, and how many roots of trust are.
_KEPT_SECONDS, _TRUST_LIMIT = 90, 256
_REFUSED = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    413: "the request is too large",
    415: "the server was unable to understand the content type of the request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
_OS_ERRORS = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.ETIMEDOUT: "i/o timeout",
}
#: OpenSSL's codes for certificates that nobody vouches for, that are out of date, and that are for somebody else.
_UNKNOWN, _DATES, _NAMES = frozenset((2, 7, 18, 19, 20, 21)), frozenset((9, 10)), frozenset((62, 64))


class CallFailed(Exception):
    """A call without an answer."""


class BadClient(Exception):
    """A client config with which nobody can be called."""


@dataclass(frozen=True, slots=True)
class _Call:
    where: Place
    body: bytes
    seconds: int
    headers: dict[str, str]
    trust: ssl.SSLContext


class Caller:
    """The webhook client of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None
        self._trust: dict[tuple[str, Identity], ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, client: Obj, body: bytes, seconds: int, identities: Identities | None = None) -> Any:
        """The decoded answer of the webhook at a client config. CallFailed says why there is none, BadClient why none can be had."""
        identity = NOBODY if identities is None else _identity(identities, shown(client, seconds))
        trust = self._trusting(client.get("caBundle") or "", identity)
        try:
            where = place(self._server, client, seconds, self._server.clock.random)
        except Unreachable as error:
            raise CallFailed(f'Post "{shown(client, seconds)}": {error}') from None
        headers = _HEADERS | ({"Host": where.host} if where.host else {})
        if identity.authorization:
            headers["Authorization"] = identity.authorization
        status, media, answer = await self._send(_Call(where, body, seconds, headers, trust))
        if status not in (200, 201):
            raise CallFailed(_refusal(status, answer))
        if not answer:
            raise CallFailed(f"0-length response with status code: {status} and content type: {media}")
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from None

    async def _send(self, call: _Call) -> tuple[int, str, bytes]:
        import aiohttp

        where = call.where
        try:
            try:
                return await self._once(call)
            except aiohttp.ServerDisconnectedError:
                return await self._once(call)  # the kept connection had been closed
        except TimeoutError:
            raise CallFailed(f'Post "{where.shown}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError) as error:
            raise CallFailed(f'Post "{where.shown}": {_said(error, where)}') from None

    async def _once(self, call: _Call) -> tuple[int, str, bytes]:
        import aiohttp
        from yarl import URL

        request = self._open().post(
            URL(call.where.url, encoded=True), data=call.body, headers=call.headers, ssl=call.trust,
            server_hostname=call.where.name or None, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=call.seconds),
        )  # fmt: skip
        async with request as response:
            return response.status, response.headers.get("Content-Type", ""), await response.read()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _trusting(self, bundle: str, identity: Identity) -> ssl.SSLContext:
        """Trust in the certificates of a CA bundle ("" for the system's own), as somebody."""
        key = (bundle, identity)
        found = self._trust.get(key)
        if found is None:
            if len(self._trust) >= _TRUST_LIMIT:
                self._trust.clear()
            found = _trust(bundle)
            identity.present(found)
            self._trust[key] = found
        return found


def _identity(identities: Identities, url: str) -> Identity:
    parts = urlsplit(url)
    return identities.of(parts.hostname or "", parts.port or 443)


def _trust(bundle: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whatever is in a bundle is trusted, root or not
    if not bundle:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode("ascii"))
    except (ssl.SSLError, binascii.Error, UnicodeDecodeError):
        raise BadClient("unable to load root certificates: unable to parse bytes as PEM block") from None
    return context


def _refusal(status: int, answer: bytes) -> str:
    """An answer that is no review: a Status says itself what it is about."""
    try:
        said = orjson.loads(answer)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict) and said.get("kind") == "Status" and said.get("message"):
        return str(said["message"])
    if status in _REFUSED:
        return _REFUSED[status]
    text = answer.decode(errors="replace").strip() or "unknown"
    if status >= 500:
        return f"an error on the server ({quote(text)}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"


def _said(error: Exception, where: Place) -> str:
    """What is wrong with a connection."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _bad_certificate(error.certificate_error, where)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        reason = getattr(error.os_error, "reason", "") or str(error.os_error)
        return f"tls: {reason.lower().replace('_', ' ')}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return f"dial tcp {error.host}:{error.port}: {_OS_ERRORS.get(number) or os.strerror(number)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    return str(error) or type(error).__name__


def _bad_certificate(error: Exception, where: Place) -> str:
    code = getattr(error, "verify_code", 0)
    why = getattr(error, "verify_message", "") or str(error)
    if code in _UNKNOWN:
        why = "certificate signed by unknown authority"
    elif code in _DATES:
        why = "certificate has expired or is not yet valid"
    elif code in _NAMES or "doesn't match" in why:
        why = f"certificate is not valid for {where.name or 'the host'}: {why}"
    return f"tls: failed to verify certificate: x509: {why}"
