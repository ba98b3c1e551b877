"""Watches over WebSocket (RFC 6455), as browsers and dashboards open them: each event is a message.

An ordinary watch request with `Upgrade: websocket` is answered with 101; what the watch writes then leaves as text messages (JSON) or binary ones
(protobuf). Frames are made once for all WebSocket watchers of a channel, like chunks for the others. A bearer token may come as a
subprotocol, `base64url.bearer.authorization.k8s.io.<token>`, because browsers cannot set headers; another subprotocol must stand beside it
and is the one that is accepted. Parsing what clients send (pings, closing) is wsproto's work.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from pilothouse.api.errors import StatusError, bad_request
from pilothouse.apiserver.messages import Request, Response, Stream

if TYPE_CHECKING:
    from pilothouse.apiserver.encoders import Encoder
    from pilothouse.apiserver.entries import Entry

BEARER = "base64url.bearer.authorization.k8s.io."
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY = 0x81, 0x82
_CLOSE_NORMAL = b"\x88\x02\x03\xe8"


# --- the request --------------------------------------------------------------------------------------------------------------------


def wanted(request: Request) -> bool:
    """Whether a request asks for WebSocket."""
    headers = request.headers
    return headers.get(b"upgrade", b"").lower() == b"websocket" and b"upgrade" in headers.get(b"connection", b"").lower()


def offered(request: Request) -> list[str]:
    """The subprotocols that a client offers."""
    parts = (part.strip() for value in request.header_values(b"sec-websocket-protocol") for part in value.split(","))
    return [part for part in parts if part]


def bearer_of(request: Request) -> str | None:
    """The token among the subprotocols, if there is one beside others. None: none that counts."""
    protocols = offered(request)
    tokens = [p.removeprefix(BEARER) for p in protocols if p.startswith(BEARER)]
    if len(tokens) != 1 or len(protocols) < 2:
        return None
    try:
        return base64.urlsafe_b64decode(tokens[0] + "=" * (-len(tokens[0]) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def upgrade(request: Request, start: Callable[[Stream], None]) -> Response:
    """101, and the stream begins. 400 for what is no handshake."""
    key = request.headers.get(b"sec-websocket-key", b"")
    if request.header(b"sec-websocket-version") != "13" or not key:
        raise bad_request("the WebSocket handshake needs Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key")
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest()).decode()
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    protocol = next((p for p in offered(request) if not p.startswith(BEARER)), "")
    if protocol:
        headers.append(("Sec-WebSocket-Protocol", protocol))
    response = Response(101, content_type="", headers=headers)
    response.upgrade = lambda transport: Socket(transport, start)
    return response


# --- frames -------------------------------------------------------------------------------------------------------------------------


def message(data: bytes, opcode: int = _TEXT) -> bytes:
    """One unmasked message of one frame."""
    size = len(data)
    if size < 126:
        return bytes((opcode, size)) + data
    if size < 65536:
        return bytes((opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((opcode, 127)) + size.to_bytes(8, "big") + data


class MessageEncoder:
    """Another encoder's frames as messages."""

    def __init__(self, inner: Encoder, binary: bool) -> None:
        self._inner = inner
        self._opcode = _BINARY if binary else _TEXT
        self.key: Any = None if inner.key is None else ("websocket", inner.key)

    async def ready(self, entries: Iterable[Entry]) -> None:
        await self._inner.ready(entries)

    def frame(self, type: str, entry: Entry) -> bytes:
        return self._message(self._inner.frame(type, entry))

    def bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        return self._message(self._inner.bookmark(revision, annotations))

    def error(self, error: StatusError) -> bytes:
        return self._message(self._inner.error(error))

    def _message(self, frame: bytes) -> bytes:
        # Events in protobuf have their length before them, which messages have of their own.
        return message(frame[4:] if self._opcode == _BINARY else frame, self._opcode)


# --- the connection -----------------------------------------------------------------------------------------------------------------


class Socket(asyncio.Protocol):
    """The protocol of an upgraded connection: writes what its stream writes, listens for pings and for the end."""

    subject = None

    def __init__(self, transport: asyncio.Transport, start: Callable[[Stream], None]) -> None:
        from wsproto.connection import Connection, ConnectionType

        self.transport = cast(asyncio.Transport, self)  # streams write chunks there
        self.paused = False
        self.on_lost: Callable[[], None] | None = None
        self._wire = transport
        self._parser = Connection(ConnectionType.SERVER)
        transport.set_protocol(self)
        self.stream = Stream(self)
        start(self.stream)

    def write(self, chunk: bytes) -> None:
        """What `chunk_of` made, without the frame that HTTP needs around it."""
        self._wire.write(chunk[chunk.index(b"\r\n") + 2 : -2])

    def end_stream(self) -> None:
        self._wire.write(_CLOSE_NORMAL)
        self._wire.close()

    def abort(self) -> None:
        self._wire.abort()

    def data_received(self, data: bytes) -> None:
        from wsproto.events import CloseConnection, Ping
        from wsproto.utilities import RemoteProtocolError

        try:
            self._parser.receive_data(data)
            for event in self._parser.events():
                if isinstance(event, Ping | CloseConnection):
                    self._wire.write(self._parser.send(event.response()))
                if isinstance(event, CloseConnection):
                    self._wire.close()
        except RemoteProtocolError:
            self._wire.abort()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.stream.on_drain is not None:
            self.stream.on_drain()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stream.peer_gone()
        if self.on_lost is not None:
            self.on_lost()

    def sweep(self, now: int) -> None:
        """Watches are never idle."""

    def shut(self) -> None:
        """The server stops: end the stream properly."""
        self.stream.finish()
