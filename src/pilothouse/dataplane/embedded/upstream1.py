"""HTTP/1.1 towards backends: one connection, one request at a time, kept for the next where both sides allow it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httptools

from pilothouse.dataplane.embedded.answers import lines
from pilothouse.dataplane.embedded.closed import CLOSED
from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.pools import Target
from pilothouse.dataplane.embedded.tunnel import no_delay

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine
    from pilothouse.dataplane.embedded.exchange import Exchange


class Http1Upstream(asyncio.BufferedProtocol):
    """A connection. `_exchange` is whose answer is awaited; without one it is idle, in its target's list."""

    def __init__(self, engine: EmbeddedEngine, target: Target) -> None:
        self._engine = engine
        self.target = target
        self.transport = cast(asyncio.Transport, None)
        self._parser: Any = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._out: list[bytes] = []
        self._headers: Headers = []
        self._trailers: Headers = []
        self._paused = False
        self._extra = False
        self._complete = False
        self.expires = 0.0

    @property
    def busy(self) -> bool:
        return self._exchange is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        no_delay(transport)

    # --- the request ------------------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._heard = self._complete = self._sent = self._started = self._until_close = False
        self._headers, self._trailers = [], []
        self._size = 0
        out = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (exchange.method, exchange.target, exchange.host)]
        out += lines(exchange.head)
        self._chunked = False
        if exchange.length is not None:
            out.append(b"content-length: %b\r\n\r\n" % exchange.length)
        elif exchange.asks_body:
            self._chunked = True
            out.append(b"transfer-encoding: chunked\r\n\r\n")
        elif exchange.upgrade:
            out.append(b"connection: upgrade\r\nupgrade: %b\r\n\r\n" % exchange.upgrade)
        else:
            out.append(b"\r\n")
        self._out = out

    def body(self, data: bytes) -> None:
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def end(self, trailers: Headers) -> None:
        self._sent = True
        if self._chunked:
            self._out.append(b"0\r\n")
            self._out += lines(trailers)
            self._out.append(b"\r\n")

    def flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            if not self.transport.is_closing():
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def drop(self) -> None:
        self._exchange = None
        self.transport.abort()

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.up_full()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.up_drained()

    # --- the answer -------------------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._engine.piece

    def buffer_updated(self, nbytes: int) -> None:
        data = self._engine.piece[:nbytes]
        exchange = self._exchange
        if exchange is None:  # nothing was asked
            self.transport.abort()
            return
        self._heard = True
        down = exchange.down
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._switch(exchange, bytes(data[stopped.args[0] :]))
            return
        except httptools.HttpParserCallbackError as error:
            self._lost()
            raise error.__context__ or error from None
        except httptools.HttpParserError:
            self._extra = True
            if not self._complete:
                self._lost()
                return
        if not self._started:
            self._size += len(data)
            if self._size > self._engine.limits.head:
                self._lost()
                return
        if self._complete and self._exchange is not None:
            self._release(exchange)
        down.flush()

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._trailers if self._started else self._headers).append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or self._complete:
            return
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []
        self._status = status
        if status < 200:
            if status == 101:
                self._headers = headers
            elif status != 102:
                exchange.up_inform(status, headers)
            return
        self._started = True
        self._keep = self._parser.should_keep_alive()
        bodyless = exchange.method == b"HEAD" or status == 204 or status == 304
        if not exchange.up_head(status, headers, bodyless):
            return
        if bodyless:
            self._complete = True
            if exchange.method == b"HEAD":  # the parser waits for a body that does not come
                self._parser = httptools.HttpResponseParser(self)
                self._keep = not any(name == b"connection" and b"close" in value.lower() for name, value in headers)
        elif not self._keep:
            names = {name for name, _ in headers}
            self._until_close = b"content-length" not in names and b"transfer-encoding" not in names

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self._extra = True
        elif self._exchange is not None:
            self._exchange.down.body(data)

    def on_message_complete(self) -> None:
        if self._started:
            self._complete = True

    def _switch(self, exchange: Exchange, rest: bytes) -> None:
        if self._status != 101 or not exchange.upgrade:
            self._lost()
            return
        self._exchange = None
        self._out = [rest] if rest else []
        exchange.up_switch(self._headers)

    def early(self) -> bytes:
        """What came right behind the head that switched protocols."""
        return b"".join(self._out)

    def _release(self, exchange: Exchange) -> None:
        """The answer is complete: be idle, or close."""
        self._exchange = None
        target = self.target
        if self._keep and self._sent and not self._extra and not target.gone and not self.transport.is_closing():
            self.resume()
            self.expires = self._engine.now + self._engine.limits.idle_upstream
            target.idle.append(self)
        else:
            self.transport.abort() if not self._sent else self.transport.close()
        exchange.up_end(self._trailers)

    def _lost(self) -> None:
        exchange, self._exchange = self._exchange, None
        self.transport.abort()
        if exchange is not None:
            exchange.up_lost(self._heard)
            exchange.down.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = CLOSED
        exchange = self._exchange
        if exchange is None:
            if self in self.target.idle:
                self.target.idle.remove(self)
        elif self._until_close and exc is None:
            self._exchange = None
            exchange.up_end([])
            exchange.down.flush()
        else:
            self._lost()

    def close(self) -> None:
        """End while idle."""
        if self in self.target.idle:
            self.target.idle.remove(self)
        self.transport.close()
