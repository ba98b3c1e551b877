"""HTTP/1.1 in front: a client's connection, its requests one after the other, and the answers in the same order.

The parser (llhttp, strict) refuses what could be read in two ways: two lengths, a length beside chunks, codings that do not end in chunks
(RFC 9112 section 11.2). Requests that come before the one in front of them is answered wait, and so does their connection's reading.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from pilothouse.dataplane.embedded import answers, heads
from pilothouse.dataplane.embedded.closed import CLOSED
from pilothouse.dataplane.embedded.exchange import Exchange
from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.tunnel import End, join, no_delay

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.edge import EdgeFront
    from pilothouse.dataplane.embedded.upstream import Upstream

#: How HTTP/2 begins, and how much of it tells it from a request.
_PREFACE, _TELLING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 16
#: Requests that may wait on one connection before its reading does.
_WAITING = 16
#: Answers that wait to be written before the backend is read no further.
_HIGH_WATER = 262_144
#: How long a client may take to read the answer to what was refused before it is cut off.
_LINGER = 1.0
#: Why a connection is not read: its backend is slower, many requests wait, or it is not known yet what is spoken from here on.
_BACKEND, _WAIT, _SWITCH, _CLIENT = 1, 2, 4, 8


class Http1(asyncio.BufferedProtocol):
    """One connection. `_current` is being answered, `_reading` is being read; they differ where requests are pipelined."""

    def __init__(self, front: EdgeFront, server_name: bytes | None = None) -> None:
        self.front = front
        self.server_name = server_name
        self.scheme = b"http" if server_name is None else b"https"
        self.client = ""
        self.transport = cast(asyncio.Transport, None)
        self.expires = 0.0
        self._parser: Any = httptools.HttpRequestParser(self)
        self._first = True
        self._current: Exchange | None = None
        self._reading: Exchange | None = None
        self._waiting: deque[tuple[Exchange, bool, bool]] = deque()
        self._out: list[bytes] = []
        self._chunked = self._close = self._old = self._upgrading = False
        self._stopped = 0
        self._clogged = self._expecting = False
        self._stash: list[bytes] = []
        self._unread = 0
        self._bad = 0
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: Headers = []
        self._trailers: Headers = []
        self._host: bytes | None = None
        self._head_size = 0
        self._in_head = True

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.front.came(self)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if peer else ""
        self.expires = self.front.engine.now + self.front.engine.limits.greeting
        no_delay(transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.left(self)
        self.transport = CLOSED
        for exchange in (self._current, self._reading):
            if exchange is not None:
                exchange.gone()
        self._current = self._reading = None
        self._waiting.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.front.engine.piece

    def buffer_updated(self, nbytes: int) -> None:
        self.front.counters.bytes_in += nbytes
        piece = self.front.engine.piece[:nbytes]
        if self._first or self._upgrading or self._bad:
            self._received(bytes(piece))
        else:
            self._feed(piece)

    def _received(self, data: bytes) -> None:
        """What came, where it may have to wait."""
        if self._first:
            self._greet(data)
            return
        if self._upgrading:
            self._stash.append(data)
            self._unread += len(data)
            if self._unread > self.front.engine.limits.held:
                self._stop(_SWITCH)
        elif not self._bad:
            self._feed(data)
        elif self._unread > self.front.engine.limits.unread:
            self.transport.abort()
        else:
            self._unread += len(data)

    def _greet(self, data: bytes) -> None:
        """The beginning may be HTTP/2's preface: decide when enough of it has come."""
        if self._stash:
            data = self._stash.pop() + data
        if not _PREFACE.startswith(data[:_TELLING]):
            self._first = False
            self._feed(data)
        elif len(data) < _TELLING:
            self._stash.append(data)
        else:
            from pilothouse.dataplane.embedded.http2 import Http2

            self.front.left(self)  # and comes again as another
            self.front.counters.connections -= 1
            self.front.counters.bytes_in -= len(data)
            session = Http2(self.front, self.server_name)
            self.transport.set_protocol(session)
            session.connection_made(self.transport)
            session.data_received(data)

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._at_upgrade(bytes(data[stopped.args[0] :]))
            return
        except httptools.HttpParserCallbackError as error:
            if not self._bad:
                self.transport.abort()
                raise error.__context__ or error from None
        except httptools.HttpParserError:
            self._refuse(400)
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > self.front.engine.limits.head:
                self._refuse(431)
        current = self._current
        if current is not None and current.up is not None:
            current.up.flush()

    def _at_upgrade(self, rest: bytes) -> None:
        """The parser ends at a request to upgrade. Unless that is tried, HTTP goes on behind it."""
        self._parser = httptools.HttpRequestParser(self)
        exchange = self._reading
        if exchange is not None and exchange.upgrade and not exchange.done:
            self._upgrading = True
            self._unread = 0
            self._stash = [rest] if rest else []
            if exchange is self._current and exchange.up is not None:
                exchange.up.flush()
        elif rest and not self.transport.is_closing():
            self._feed(rest)

    def eof_received(self) -> bool:
        """A client that closes cannot be told from one that closes half, and nearly all have left: what they asked for is given up."""
        return False

    def pause_writing(self) -> None:
        self._clogged = True
        if self._current is not None:
            self._current.down_full()

    def resume_writing(self) -> None:
        self._clogged = False
        self._go_on(_CLIENT)
        if self._current is not None:
            self._current.down_drained()
        elif self._waiting:
            self._next()

    # --- the parser -------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._reset()
        if self._current is None:
            self.expires = self.front.engine.now + self.front.engine.limits.greeting

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._headers.append((name.lower(), value))
        else:
            self._trailers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._bad or self._close:
            return
        parser = self._parser
        method = parser.get_method()
        old = parser.get_http_version() != "1.1"
        headers = self._headers
        exchange = Exchange(self.front, self, method, headers)
        problem = self._understand(exchange, old)
        if problem:
            self._refuse(problem)
            return
        self._reading = exchange
        keep = parser.should_keep_alive()
        if self._current is None:
            self._start(exchange, old, keep)
        else:
            self._waiting.append((exchange, old, keep))
            if len(self._waiting) == _WAITING:
                self._stop(_WAIT)

    def _understand(self, exchange: Exchange, old: bool) -> int:
        """Read from the head what framing and routing need; a status if it cannot be."""
        host: bytes | None = None
        upgrade, connection = b"", b""
        size = len(self._url)
        for name, value in exchange.headers:
            size += len(name) + len(value) + 4
            if name == b"host":
                if host is not None:
                    return 400
                host = value
            elif name == b"content-length":
                exchange.length = value
            elif name == b"transfer-encoding":
                if old or value.lower() != b"chunked":  # other codings are hop by hop, and none that we know
                    return 400 if old else 501
                exchange.asks_body = True
            elif name == b"upgrade":
                upgrade = value
            elif name == b"expect":
                self._expecting = value.lower() == b"100-continue"
            elif name == b"connection":
                connection = value
        if size > self.front.engine.limits.head:
            return 431
        if upgrade and b"upgrade" in connection.lower():
            if upgrade.lower() != b"h2c":
                exchange.upgrade = upgrade
            if exchange.asks_body or exchange.length not in (None, b"0"):
                return 400  # a body and another protocol behind it: the parser does not read both
        url = self._url
        if url[:1] != b"/":
            if exchange.method == b"CONNECT":
                return 405
            if url.startswith((b"http://", b"https://")):  # a proxy's form: the authority in it counts
                authority, slash, rest = url.partition(b"://")[2].partition(b"/")
                host, mark, query = authority.partition(b"?")
                url = slash + rest if slash else b"/" + mark + query
            elif url != b"*":
                return 400
        if host is None:
            if not old:
                return 400
            host = b""
        if not heads.is_authority(host):
            return 400
        exchange.host = host
        exchange.aim(url)
        return 0

    def on_body(self, data: bytes) -> None:
        exchange = self._reading
        if exchange is None:
            return
        if exchange.done:
            self._unread += len(data)
            if self._unread > self.front.engine.limits.unread:
                self.transport.abort()
            return
        exchange.body(data)

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        if exchange.upgrade and not exchange.done:
            self._reading = exchange  # until it is known what comes of it
        exchange.end(self._trailers)
        if exchange.done and exchange is not self._current and self._current is None:
            self._reading = None
            self._next()

    # --- one request after the other --------------------------------------------------------------------------------------

    def _start(self, exchange: Exchange, old: bool, keep: bool) -> None:
        self._current = exchange
        self._old = old
        self._close = not keep
        exchange.begin()

    def _next(self) -> None:
        """What was current is answered, and read to its end."""
        if self._clogged and not self._close:
            self._stop(_CLIENT)
        elif self._waiting and not self._close:
            if len(self._waiting) == _WAITING:
                self._go_on(_WAIT)
            self._start(*self._waiting.popleft())
            if self._current is not None and self._current.up is not None:
                self._current.up.flush()
        elif self._close:
            self._hang_up()
        elif self._bad:
            self._say(self._bad)
        else:
            self.expires = self.front.engine.now + self.front.engine.limits.idle

    def _hang_up(self) -> None:
        """Close once all is written; a client that is still sending gets a moment to read the answer first."""
        if self._reading is None and not self._waiting:
            self.transport.close()
            return
        self._bad = self._bad or 400
        self._linger()

    def _linger(self) -> None:
        if not self.transport.is_closing():
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.front.engine.clock.call_later(_LINGER, self.transport.close)

    def _refuse(self, status: int) -> None:
        """What comes is not HTTP, or too much: nothing more is read."""
        if self._bad:
            return
        self._bad = status
        self._reading = None
        if self._current is None:
            self._say(status)
        else:
            self._close = False  # said when what is being answered is done

    def _say(self, status: int) -> None:
        self.front.counters.requests += 1
        self.front.counters.answered(status)
        self._close = True
        self._old = False
        text = answers.body(status)
        self.respond(status, [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))], False)
        self._out.append(text)
        self.flush()
        self._linger()

    # --- exchange.Downstream ----------------------------------------------------------------------------------------------

    def respond(self, status: int, headers: Headers, bodyless: bool) -> None:
        out = self._out
        out.append(answers.status_line(status))
        if self._expecting:  # nobody can tell whether the body comes after all
            self._expecting = False
            self._close = self._close or self._reading is not None
        self._chunked = not bodyless
        for pair in headers:
            if pair[0] == b"content-length":
                self._chunked = False
            out.append(b"%b: %b\r\n" % pair)
        if self._chunked and self._old:
            self._chunked = False
            self._close = True
        if self._chunked:
            out.append(b"transfer-encoding: chunked\r\n")
        if self._close:
            out.append(b"connection: close\r\n\r\n")
        elif self._old:
            out.append(b"connection: keep-alive\r\n\r\n")
        else:
            out.append(b"\r\n")

    def inform(self, status: int, headers: Headers) -> None:
        if not self._old:
            self._expecting = self._expecting and status != 100
            self._out.append(answers.status_line(status))
            self._out += answers.lines(headers)
            self._out.append(b"\r\n")
            self.flush()

    def body(self, data: bytes) -> None:
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            data = out[0] if len(out) == 1 else b"".join(out)
            self.front.counters.bytes_out += len(data)
            if not self.transport.is_closing():
                self.transport.write(data)

    def end(self, trailers: Headers) -> None:
        if self._chunked:
            self._out.append(b"0\r\n")
            self._out += answers.lines(trailers)
            self._out.append(b"\r\n")
        self.flush()
        current, self._current = self._current, None
        self.resume()
        if current is self._reading and current is not None:
            if self._upgrading:
                self._upgrade_refused()
            elif not current.ended:
                # The rest of the request is read first, and thrown away.
                self._unread = 0
                if self._close:
                    self._hang_up()
            return
        self._next()

    def _upgrade_refused(self) -> None:
        self._upgrading = False
        self._reading = None
        self._go_on(_SWITCH)
        stash, self._stash = self._stash, []
        self._next()
        for data in stash:
            if not self.transport.is_closing():
                self._received(data)

    def reset(self) -> None:
        self._out = []
        self.transport.abort()

    def _stop(self, why: int) -> None:
        """Read no more until `_go_on` has been said for each reason."""
        if not self._stopped and not self.transport.is_closing():
            self.transport.pause_reading()
        self._stopped |= why

    def _go_on(self, why: int) -> None:
        if self._stopped == why and not self.transport.is_closing():
            self.transport.resume_reading()
        self._stopped &= ~why

    def pause(self) -> None:
        self._stop(_BACKEND)

    def resume(self) -> None:
        self._go_on(_BACKEND)

    def switch(self, status: int, headers: Headers, backend: Upstream) -> None:
        from pilothouse.dataplane.embedded.upstream1 import Http1Upstream

        assert isinstance(backend, Http1Upstream)
        stash, self._stash = self._stash, []
        upgrade = self._current.upgrade if self._current is not None else b""
        headers = [*headers, (b"connection", b"upgrade"), (b"upgrade", upgrade)]
        self._out.append(answers.status_line(status))
        self._out += answers.lines(headers)
        self._out += (b"\r\n", backend.early())
        self.flush()
        self._current = self._reading = None
        front, target = self.front, backend.target
        ends = (
            End(front.counters, front.engine.scratch, True, front.open.discard),
            End(front.counters, front.engine.scratch, False, lambda _: target.end_one()),
        )
        for end, transport in zip(ends, (self.transport, backend.transport), strict=True):
            end.connection_made(transport)
            transport.set_protocol(end)
        front.left(self)
        front.open.add(ends[0])
        for data in stash:
            backend.transport.write(data)
        join(*ends)

    # --- for the front ----------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        self.transport.abort()

    def sweep(self, now: float) -> None:
        """Close what is idle, or takes too long to ask."""
        if self._current is None and self._reading is None and self.expires < now:
            self.transport.close()

    def drain(self) -> None:
        """Close, now or after what is being answered."""
        self._close = True
        if self._current is None and self._reading is None:
            self.transport.close()
