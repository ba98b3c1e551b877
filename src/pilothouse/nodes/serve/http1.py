"""HTTP/1.1 of a simulated pod: keep-alive, pipelining, chunked bodies, `Expect: 100-continue`, HEAD, and the way to a WebSocket.

Requests are answered in the order in which they came, each after the pod's latency. Bodies are counted and thrown away. References: RFC 9110,
RFC 9112. `Upgrade: h2c`, which RFC 9113 took away, is ignored; CONNECT is refused.
"""

from __future__ import annotations

import functools
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools

from pilothouse.clock import Timer
from pilothouse.nodes.answers import SERVER, Answer, Asked

if TYPE_CHECKING:
    from pilothouse.nodes.serve.connection import Connection

#: So many requests of one connection may wait for their turn, and so many bytes may a request's head have.
WAITING, LARGEST_HEAD = 64, 65_536


class Http1:
    """One connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pod, self._place, self._transport = connection.pod, connection.place, connection.transport
        self._parser = httptools.HttpRequestParser(self)
        self._due: deque[tuple[Asked, bool]] = deque()
        self._timer: Timer | None = None
        self._reading = self._in_head = False
        self._last = False
        self._upgrade: Asked | None = None
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._head = self._body = 0
        self._continue = False

    @property
    def busy(self) -> bool:
        return self._reading or bool(self._due)

    # --- as the connection's handler ----------------------------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        while data and not self._last:
            try:
                self._parser.feed_data(data)
                self._head += len(data) if self._in_head else 0
                if self._head > LARGEST_HEAD:
                    self._refuse(431)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if self._upgrade is not None:
                    self._to_websocket(self._upgrade, data)
                    return
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self._refuse(400)
                return

    def eof(self) -> None:
        self._reading = False
        self._last = True

    def stopping(self) -> None: ...  # the next answer says it

    def end(self) -> None: ...

    # --- as the parser's listener -------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._reading = self._in_head = True
        self._url = b""
        self._headers = []
        self._head = self._body = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if any(n.lower() == "expect" and v.lower() == "100-continue" for n, v in self._headers):
            if self._due:
                self._continue = True  # its turn has not come
            else:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += len(body)

    def on_message_complete(self) -> None:
        self._reading = False
        self._continue = False
        asked = self._asked()
        if _wants_websocket(asked) and not self._due and self._pod.behaviour.status_of(asked.path.partition("?")[0]) == 200:
            self._upgrade = asked
            return
        keep = self._parser.should_keep_alive() and asked.method != "CONNECT"
        self._last = not keep
        self._due.append((asked, keep))
        if len(self._due) == 1:
            self._next()
        elif len(self._due) == WAITING:
            self._connection.pause("waiting")

    def _asked(self) -> Asked:
        method, path, headers = self._parser.get_method().decode(), self._url.decode("latin-1"), tuple(self._headers)
        host = next((v for n, v in headers if n.lower() == "host"), "")
        if not path.startswith("/") and "://" in path:  # the absolute form, which proxies are sent
            host, slash, rest = path.partition("://")[2].partition("/")
            path = slash + rest or "/"
        return Asked(method, path, f"HTTP/{self._parser.get_http_version()}", host, headers, self._body)

    # --- answers ------------------------------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Answer what is due, or wait for its moment."""
        while self._due and self._timer is None:
            delay = self._pod.delay()
            if delay > 0:
                self._timer = self._pod.clock.call_later(delay, self._answer_late)
                return
            self._answer()
        if self._continue and not self._due:
            self._continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._last and not self._due:
            self._transport.close()
        self._connection.rest()

    def _answer_late(self) -> None:
        self._timer = None
        self._answer()
        self._next()

    def _answer(self) -> None:
        asked, keep = self._due.popleft()
        if self._transport.is_closing():
            self._due.clear()
            return
        if len(self._due) == WAITING - 1:
            self._connection.resume("waiting")
        answer = Answer(405, "", b"") if asked.method == "CONNECT" else self._pod.answer(self._place, asked)
        keep = keep and not self._pod.stopping and not self._connection.ending
        self._transport.write(self._encoded(asked, answer, keep))
        if not keep:
            self._due.clear()
            self._last = True
            self._transport.close()

    def _encoded(self, asked: Asked, answer: Answer, keep: bool) -> bytes:
        head = [_status_line(answer.status), self._standing(), _date(int(self._pod.clock.now()))]
        if answer.content_type:
            head.append(f"Content-Type: {answer.content_type}\r\n")
        if answer.status not in (204, 304):
            head.append(f"Content-Length: {len(answer.body)}\r\n")
        if not keep:
            head.append("Connection: close\r\n")
        elif asked.proto == "HTTP/1.0":
            head.append("Connection: keep-alive\r\n")
        head.append("\r\n")
        return "".join(head).encode("latin-1") + (b"" if asked.method == "HEAD" else answer.body)

    def _standing(self) -> str:
        return f"Server: {SERVER}\r\nX-Pod-Name: {self._pod.name}\r\n"

    def _refuse(self, status: int) -> None:
        """What is no HTTP gets a last word, unless an answer is due before it."""
        self._reading = False
        self._last = True
        if not self._due:
            head = f"{_status_line(status)}{self._standing()}Content-Length: 0\r\nConnection: close\r\n\r\n"
            self._transport.write(head.encode())
            self._transport.close()

    def _to_websocket(self, asked: Asked, rest: bytes) -> None:
        from pilothouse.nodes.serve.websocket import WebSocket

        socket = WebSocket(self._connection, asked)
        self._connection.become(socket)
        if rest:
            socket.data(rest)


def _wants_websocket(asked: Asked) -> bool:
    return (
        asked.method == "GET"
        and "websocket" in asked.header("upgrade").lower()
        and "upgrade" in asked.header("connection").lower()
    )


@functools.cache
def _status_line(status: int) -> str:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Status"
    return f"HTTP/1.1 {status} {reason}\r\n"


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n"
