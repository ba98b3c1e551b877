"""The wire: HTTP/1.1 on TLS, parsed by httptools (llhttp), written by hand so that a request costs a few microseconds.

A `Connection` parses requests one after the other, hands each to the application and writes what comes back. The application
answers at once (most reads), or with a coroutine (writes), or with a stream (watches). Responses leave in order; pipelined
requests wait in the connection. What is left out on purpose: HTTP/2 (clients negotiate down), trailers, compression of
requests.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import httptools

from pilothouse.apiserver.messages import Application, Request, Response, Stream, Upgraded

log = logging.getLogger(__name__)

#: Larger bodies are answered with 413 (kube-apiserver's limit).
BODY_LIMIT = 3 * 1024 * 1024
#: Bodies above this are not even read to their end: the connection is closed after the answer.
DRAIN_LIMIT = 64 * 1024 * 1024
HEADER_LIMIT = 1024 * 1024
#: Large answers are written in pieces of about this size, as the peer takes them.
PIECE = 256 * 1024
#: Answers larger than this are compressed for remote clients that accept gzip.
GZIP_THRESHOLD = 128 * 1024
#: A connection that has not finished sending a request, or is idle, for this many sweeps is closed.
IDLE_SWEEPS = 18
READ_SWEEPS = 4
SWEEP_SECONDS = 10.0

_REASONS = {
    100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently",
    304: "Not Modified", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 409: "Conflict", 410: "Gone", 413: "Request Entity Too Large",
    415: "Unsupported Media Type", 422: "Unprocessable Entity", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
_UNKNOWN_METHOD = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the '
    b'requested resource","reason":"MethodNotAllowed","details":{},"code":405}'
)
_STATUS_LINES = {code: f"HTTP/1.1 {code} {text}\r\n".encode() for code, text in _REASONS.items()}


def _header_lines(headers: Sequence[tuple[str, str]]) -> bytes:
    """Headers as they are sent. None can end itself and begin another: line ends in a value become blanks."""
    lines = [f"{k}: {v}" for k, v in headers]
    if any("\r" in line or "\n" in line for line in lines):
        lines = [line.replace("\r", " ").replace("\n", " ") for line in lines]
    return "".join([f"{line}\r\n" for line in lines]).encode("utf-8", "replace")


def status_line(code: int) -> bytes:
    return _STATUS_LINES.get(code) or f"HTTP/1.1 {code} Status\r\n".encode()


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for part in header.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() in ("gzip", "*") and quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return True
    return False


class Connection(asyncio.Protocol):
    """One client connection. Invariant: at most one request is being answered (`_busy`); later ones wait in `_waiting`."""

    __slots__ = (
        "_body", "_body_size", "_busy", "_header_size", "_headers", "_more", "_parser", "_parts", "_reading", "_server", "_stream", "_task", "_url", "_waiting", "certificate", "idle_since", "paused", "peer", "remote", "transport",
    )  # fmt: skip

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser: Any = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._waiting: deque[Request] = deque()
        self._busy: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._parts: Iterator[bytes] | None = None
        self._reading = False
        self.certificate: Mapping[str, Any] | None = None
        self.peer = ""
        self.remote = False
        self.paused = False
        self.idle_since = 0
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._more: list[tuple[bytes, bytes]] = []
        self._header_size = 0
        self._body: list[bytes] = []
        self._body_size = 0

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=PIECE // 2, low=PIECE // 8)
        self.certificate = transport.get_extra_info("peercert") or None
        address = transport.get_extra_info("peername") or ("",)
        self.peer = str(address[0])
        self.remote = not (self.peer.startswith("127.") or self.peer in ("::1", ""))
        self.idle_since = self._server.sweeps
        self._server.connections.add(self)

    @property
    def subject(self) -> tuple[str, tuple[str, ...]] | None:
        """The verified client certificate's common name and organizations."""
        if self.certificate is None:
            return None
        fields = [pair for part in self.certificate.get("subject", ()) for pair in part]
        name = next((v for k, v in fields if k == "commonName"), "")
        return (name, tuple(v for k, v in fields if k == "organizationName")) if name else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._parts = None
        self._waiting.clear()
        if self._stream is not None:
            self._stream.peer_gone()
            self._stream = None
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            # The parser takes nothing after a request to upgrade. Unless that was granted, HTTP goes on.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[stopped.args[0] :]
            if rest and self in self._server.connections:
                self.data_received(rest)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(405, _UNKNOWN_METHOD, b"application/json")
        except httptools.HttpParserError as error:
            self._refuse(400, b"400 Bad Request")
            log.debug("bad request from %s: %s", self.peer, error)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._parts is not None:
            self._write_parts()
        elif self._stream is not None and self._stream.on_drain is not None:
            self._stream.on_drain()

    def eof_received(self) -> bool:
        return False

    # --- httptools callbacks ----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._reading = True
        self.idle_since = self._server.sweeps

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in self._headers:
            self._more.append((name, value))
        else:
            self._headers[name] = value
        self._header_size += len(name) + len(value)
        if self._header_size > HEADER_LIMIT:
            self._refuse(431, b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        if b"expect" in self._headers and self._headers[b"expect"].lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._body_size <= BODY_LIMIT:
            self._body.append(data)
        elif self._body_size > DRAIN_LIMIT:
            self._refuse(413, b"413 Request Entity Too Large")

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method, target = self._parser.get_method().decode("latin-1"), self._url.decode("latin-1")
        request = Request(method, target, self._headers, body, self, self._more)
        request.too_large = self._body_size > BODY_LIMIT
        request.close = not self._parser.should_keep_alive()
        self._reading = False
        self._reset()
        if self._busy is None:
            self._start(request)
        else:
            self._waiting.append(request)
            if len(self._waiting) == 16:
                self.transport.pause_reading()

    # --- answering --------------------------------------------------------------------------------------------------------

    def _start(self, request: Request) -> None:
        self._busy = request
        answer = self._server.application(request)
        if isinstance(answer, Response):
            self._respond(request, answer)
        else:
            self._task = asyncio.ensure_future(self._finish(request, answer))

    async def _finish(self, request: Request, answer: Coroutine[Any, Any, Response]) -> None:
        response = await answer
        if not self.transport.is_closing():
            self._respond(request, response)

    def _respond(self, request: Request, response: Response) -> None:
        if response.stream is not None:
            self._start_stream(request, response)
            return
        if response.upgrade is not None:
            self.transport.write(self._head(response, None))
            self._server.hand_over(self, response.upgrade(self.transport))
            return
        if (
            self.remote
            and (response.size is None or response.size > GZIP_THRESHOLD)
            and accepts_gzip(request.header(b"accept-encoding"))
        ):
            self._task = asyncio.ensure_future(self._compress(request, response))
            return
        self._write(request, response)

    def _write(self, request: Request, response: Response) -> None:
        size = response.size
        head = self._head(response, size)
        if request.method == "HEAD" or response.status == 304:
            self.transport.write(head)
        elif response.parts is None and len(response.body) <= PIECE:
            self.transport.write(head + response.body)
        else:
            self.transport.write(head)
            pieces = _pieces(response.parts if response.parts is not None else (response.body,))
            self._parts = pieces if size is not None else _chunks(pieces)
            self._write_parts()
            return
        self._done()

    def _write_parts(self) -> None:
        """Write pieces until the peer is slower than we are; `resume_writing` goes on."""
        parts = self._parts
        assert parts is not None
        while not self.paused:
            try:
                piece = next(parts, None)
            except Exception:
                log.exception("an answer could not be made to its end")
                self._parts = None
                self.transport.abort()
                return
            if piece is None:
                self._parts = None
                self._done()
                return
            self.transport.write(piece)

    async def _compress(self, request: Request, response: Response) -> None:
        body = response.body if response.parts is None else b"".join(response.parts)
        loop = asyncio.get_running_loop()
        packed = await loop.run_in_executor(None, lambda: gzip.compress(body, 4, mtime=0))
        response.body, response.parts = packed, None
        response.add("Content-Encoding", "gzip")
        response.add("Vary", "Accept-Encoding")
        self._write(request, response)

    def _start_stream(self, request: Request, response: Response) -> None:
        assert response.stream is not None
        self.transport.write(self._head(response, None))
        if request.method == "HEAD":
            self._done()
            return
        stream = self._stream = Stream(self)
        response.stream(stream)

    def _head(self, response: Response, size: int | None) -> bytes:
        if size is None:
            framing = b"" if response.upgrade is not None else b"Transfer-Encoding: chunked\r\n"
        else:
            framing = b"" if response.status == 304 else b"Content-Length: %d\r\n" % size
        head = self._server.head(response.status, response.content_type, response.cache)
        if response.headers is None:
            return b"%b%b\r\n%b\r\n" % (head, response.audit, framing)
        return b"%b%b\r\n%b%b\r\n" % (head, response.audit, _header_lines(response.headers), framing)

    def _done(self) -> None:
        request, self._busy, self._task = self._busy, None, None
        self.idle_since = self._server.sweeps
        if self._server.closing or (request is not None and request.close):
            self.transport.close()
        elif self._waiting:
            self.transport.resume_reading()
            self._start(self._waiting.popleft())

    def _refuse(self, code: int, text: bytes, media: bytes = b"text/plain; charset=utf-8") -> None:
        """Answer what cannot even be parsed, and hang up."""
        if not self.transport.is_closing():
            head = b"Content-Type: %b\r\nConnection: close\r\n" % media
            self.transport.write(status_line(code) + head + b"Content-Length: %d\r\n\r\n" % len(text) + text)
            self.transport.close()

    # --- streams ----------------------------------------------------------------------------------------------------------

    def end_stream(self) -> None:
        self._stream = None
        self.transport.write(b"0\r\n\r\n")
        self._done()

    def abort(self) -> None:
        self._stream = None
        self.transport.abort()

    # --- housekeeping -----------------------------------------------------------------------------------------------------

    def sweep(self, now: int) -> None:
        """Close when idle, or when a request has been arriving for too long. Answers may take as long as they need."""
        if self._busy is None and now - self.idle_since > (READ_SWEEPS if self._reading else IDLE_SWEEPS):
            self.transport.close()

    def shut(self) -> None:
        """Stop: end a stream properly, close when nothing is being answered."""
        if self._stream is not None:
            self._stream.finish()
        elif self._busy is None:
            self.transport.close()


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of an answer whose size is not known before it ends, as chunks."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _pieces(parts: Iterable[Any]) -> Iterator[bytes]:
    """Small parts joined and large ones cut, so that each piece is about PIECE long."""
    batch: list[Any] = []
    size = 0
    for part in parts:
        if len(part) > PIECE:
            if batch:
                yield b"".join(batch)
            batch, size = [], 0
            view = memoryview(part)
            for start in range(0, len(part), PIECE):
                yield bytes(view[start : start + PIECE])
            continue
        batch.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


class HttpServer:
    """Listens, and keeps the connections. `now` gives the seconds for Date headers; `every` runs a callback periodically."""

    def __init__(self, application: Application, now: Callable[[], float]) -> None:
        self.application = application
        self.connections: set[Connection | Upgraded] = set()
        self.sweeps = 0
        self.closing = False
        self._date = ""
        self._heads: dict[tuple[int, str, str], bytes] = {}
        self._now = now
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0

    async def start(self, host: str, port: int, context: ssl.SSLContext | None, sock: Any = None) -> int:
        """Listen; returns the port (that the system chose if 0 was asked for). OSError if it is taken."""
        loop = asyncio.get_running_loop()
        where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": port}
        self._server = await loop.create_server(lambda: Connection(self), **where, ssl=context, backlog=1024)
        self._tick()
        return int(self._server.sockets[0].getsockname()[1])

    def head(self, status: int, content_type: str, cache: str) -> bytes:
        """The lines that all answers of a second have in common, up to the audit id's value."""
        found = self._heads.get((status, content_type, cache))
        if found is None:
            kind = f"Content-Type: {content_type}\r\n" if content_type else ""
            lines = f"Cache-Control: {cache}\r\n{kind}Date: {self._date}\r\nAudit-Id: "
            found = self._heads[(status, content_type, cache)] = status_line(status) + lines.encode("latin-1")
        return found

    def hand_over(self, connection: Connection, upgraded: Upgraded) -> None:
        """Something else speaks on a connection from now on."""
        self.connections.discard(connection)
        self.connections.add(upgraded)
        upgraded.on_lost = lambda: self.connections.discard(upgraded)

    def _tick(self) -> None:
        """Once a second: the Date header; every ten seconds: idle connections. Real time on purpose: peers live in it."""
        import email.utils

        self._date = email.utils.formatdate(self._now(), usegmt=True)
        self._heads.clear()
        self._ticks += 1
        if self._ticks % int(SWEEP_SECONDS) == 0:
            self.sweeps += 1
            for connection in list(self.connections):
                connection.sweep(self.sweeps)
        self._timer = asyncio.get_running_loop().call_later(1.0, self._tick)

    async def stop(self, grace: float = 2.0) -> None:
        """Stop listening, end watches, let running requests finish for `grace` seconds, then hang up."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.shut()
        deadline = asyncio.get_running_loop().time() + grace
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.transport.abort()
