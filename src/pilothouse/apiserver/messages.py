"""What passes between the wire and the application: requests, responses, streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Protocol

JSON_TYPE = "application/json"
NO_CACHE = "no-cache, private"


class Peer(Protocol):
    """The connection behind a request or a stream."""

    transport: asyncio.Transport
    paused: bool

    @property
    def subject(self) -> tuple[str, tuple[str, ...]] | None: ...

    def end_stream(self) -> None: ...

    def abort(self) -> None: ...


class Upgraded(Protocol):
    """What has taken over a connection after a 101."""

    transport: asyncio.Transport
    #: To be called when the connection is gone.
    on_lost: Callable[[], None] | None

    def sweep(self, now: int) -> None: ...

    def shut(self) -> None: ...


class Request:
    """One request. Header names are lower-case; where a header is repeated, `headers` has its first value, `more` the others."""

    __slots__ = (
        "body",
        "close",
        "connection",
        "emptied",
        "flow",
        "headers",
        "method",
        "more",
        "native",
        "target",
        "too_large",
        "user",
        "warnings",
    )

    def __init__(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes = b"", connection: Peer | None = None,
                 more: Iterable[tuple[bytes, bytes]] = ()) -> None:  # fmt: skip
        self.method = method
        self.target = target
        self.headers = headers
        self.more = more
        self.body = body
        self.connection = connection
        self.too_large = False
        self.close = False
        #: Asked in this process: the answer keeps its objects, nothing is encoded.
        self.native = False
        #: The identity of a caller in this process, which presents no credentials.
        self.user: Any = None
        #: The flow schema and priority level that it belongs to, once its user is known (flows.py).
        self.flow: Any = None
        #: Empty lists and maps of the body that decoding dropped (writes only): messages about them show them.
        self.emptied: list[tuple[Any, str, Any]] | None = None
        #: Texts for Warning headers, gathered on the way.
        self.warnings: list[str] = []

    def header(self, name: bytes) -> str:
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")

    def header_values(self, name: bytes) -> list[str]:
        first = self.headers.get(name)
        rest = [value.decode("latin-1") for key, value in self.more if key == name]
        return rest if first is None else [first.decode("latin-1"), *rest]


def chunk_of(data: bytes) -> bytes:
    """Data framed as one chunk of a body: made once, written to many."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stream:
    """The body of a response that goes on: chunks are written until either side ends it."""

    __slots__ = ("_peer", "closed", "on_close", "on_drain")

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.closed = False
        self.on_close: Callable[[], None] | None = None
        #: Called when the peer has caught up after `full` was true.
        self.on_drain: Callable[[], None] | None = None

    def write(self, chunk: bytes) -> None:
        """Send what `chunk_of` made. Nothing happens once the peer has gone."""
        if not self.closed:
            self._peer.transport.write(chunk)

    @property
    def full(self) -> bool:
        """The peer is slower than we are: whoever writes on only fills our memory."""
        return self._peer.paused

    def finish(self) -> None:
        """End the body; the connection can be used again."""
        if not self.closed:
            self._end()
            self._peer.end_stream()

    def abort(self) -> None:
        """Hang up without an end: how a slow watcher is dropped."""
        if not self.closed:
            self._end()
            self._peer.abort()

    def peer_gone(self) -> None:
        if not self.closed:
            self._end()

    def _end(self) -> None:
        self.closed = True
        callback, self.on_close = self.on_close, None
        if callback is not None:
            callback()


class Response:
    """An answer: `body` as bytes, or as `parts` of `length` bytes together (None: not known yet) that are made as the peer takes
    them, or `stream`, called once the head is out."""

    __slots__ = ("audit", "body", "cache", "content_type", "headers", "length", "native", "parts", "status", "stream", "upgrade")

    def __init__(self, status: int, body: bytes = b"", content_type: str = JSON_TYPE, headers: Iterable[tuple[str, str]] | None = None,
                 parts: Iterator[bytes] | None = None, length: int | None = None, stream: Callable[[Stream], None] | None = None) -> None:  # fmt: skip
        self.status = status
        self.body = body
        self.content_type = content_type
        #: More headers than those that every answer has; None for none.
        self.headers = None if headers is None else list(headers)
        self.parts = parts
        self.length = length
        self.stream = stream
        self.audit = b""
        #: The Cache-Control header.
        self.cache = NO_CACHE
        #: The answer as objects, for callers in this process.
        self.native: Any = None
        #: Takes over the connection's transport after a 101.
        self.upgrade: Callable[[asyncio.Transport], Upgraded] | None = None

    def add(self, name: str, value: str) -> None:
        """Add a header."""
        if self.headers is None:
            self.headers = [(name, value)]
        else:
            self.headers.append((name, value))

    @property
    def size(self) -> int | None:
        return len(self.body) if self.parts is None else self.length


Answer = Response | Coroutine[Any, Any, Response]
Application = Callable[[Request], Answer]
