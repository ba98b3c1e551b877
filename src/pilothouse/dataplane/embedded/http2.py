"""HTTP/2 in front: a client's connection, each stream a downstream of its own.

Left out on purpose: server push, and WebSockets over HTTP/2 (RFC 8441), which nobody is offered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import h2.events

from pilothouse.dataplane.embedded import heads
from pilothouse.dataplane.embedded.exchange import Exchange
from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.session2 import Code, Session, Stream

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.edge import EdgeFront
    from pilothouse.dataplane.embedded.upstream import Upstream

#: Streams that a client may reset between two sweeps: more is an attack (CVE-2023-44487).
_RESETS = 1000
#: How long what is left of a request may still come when it has been answered.
_LINGER = 1.0


class Http2(Session):
    """One connection."""

    def __init__(self, front: EdgeFront, server_name: bytes | None) -> None:
        super().__init__(False, front.engine.limits)
        self.front = front
        self.server_name = server_name
        self.scheme = b"http" if server_name is None else b"https"
        self.client = ""
        self.expires = 0.0
        self._resets = 0
        self._last = 0
        self._events[h2.events.RequestReceived] = self._on_request
        self._events[h2.events.StreamEnded] = self._on_end
        self._events[h2.events.TrailersReceived] = self._on_trailers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if peer else ""
        self.idle()
        self.front.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.left(self)
        super().connection_lost(exc)

    def count_in(self, size: int) -> None:
        self.front.counters.bytes_in += size

    def count_out(self, size: int) -> None:
        self.front.counters.bytes_out += size

    def _on_request(self, event: Any) -> None:
        self._last = event.stream_id
        stream = ServerStream(self, event.stream_id)
        self.streams[event.stream_id] = stream
        stream.ask(event.headers, event.stream_ended is not None)

    def on_data(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        if not isinstance(stream, ServerStream):
            self.acknowledge(event.stream_id, event.flow_controlled_length)
            return
        if event.data:
            stream.ask_more(event.data)
        stream.arrived(event.flow_controlled_length)
        if stream.exchange.up is not None:
            stream.exchange.up.flush()

    def _on_trailers(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        if isinstance(stream, ServerStream):
            stream.trailers = list(event.headers)

    def _on_end(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        if isinstance(stream, ServerStream) and not stream.exchange.ended:
            stream.exchange.end(stream.trailers)
            if stream.exchange.up is not None:
                stream.exchange.up.flush()
            stream.over()

    def _on_reset(self, event: Any) -> None:
        super()._on_reset(event)
        self._resets += 1
        if self._resets > _RESETS:
            self.conn.close_connection(Code.ENHANCE_YOUR_CALM)
            self.close()

    def idle(self) -> None:
        self.expires = self.front.engine.now + self.limits.idle
        if self.leaving:
            self.close()

    # --- for the front ----------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        self.transport.abort()

    def sweep(self, now: float) -> None:
        self._resets = 0
        if not self.streams and self.expires < now:
            self.goaway(self._last)
            self.close()

    def drain(self) -> None:
        self.goaway(self._last)
        self.leave()
        if not self.streams:
            self.close()


class ServerStream(Stream):
    """A request and its answer: an `exchange.Downstream`. An answer's head waits for what follows, so that it can end the stream."""

    session: Http2
    exchange: Exchange
    _head: Headers | None = None
    _lingers = False
    _useless = 0

    def __init__(self, session: Http2, number: int) -> None:
        super().__init__(session)
        self.id = number
        self.client, self.server_name, self.scheme = session.client, session.server_name, session.scheme
        self.trailers: Headers = []

    def ask(self, received: list[tuple[bytes, bytes]], ended: bool) -> None:
        """Begin the exchange that a head asks for."""
        method = target = host = b""
        headers: Headers = []
        cookies = []
        length: bytes | None = None
        for name, value in received:
            if name == b":method":
                method = value
            elif name == b":path":
                target = value
            elif name == b":authority":
                host = value
            elif name == b"host":
                host = host or value
            elif name == b"cookie":
                cookies.append(value)
            elif name[:1] != b":":
                if name == b"content-length":
                    length = value
                headers.append((name, value))
        if cookies:  # they may come in pieces, which HTTP/1.1 does not know (RFC 9113 section 8.2.3)
            headers.append((b"cookie", b"; ".join(cookies)))
        exchange = self.exchange = Exchange(self.session.front, self, method, headers)
        exchange.host = host
        exchange.length = None if ended and length == b"0" else length
        exchange.asks_body = not ended and length is None
        exchange.aim(target)
        fits = heads.fits_http1(method, target, length) and heads.is_authority(host) and target[:1] in (b"/", b"*")
        if method == b"CONNECT" or not fits:
            self.session.front.counters.requests += 1
            exchange.answer(405 if method == b"CONNECT" else 400)
            return
        exchange.begin()
        if ended and not exchange.ended:
            exchange.end([])
        if exchange.up is not None:
            exchange.up.flush()

    def ask_more(self, data: bytes) -> None:
        """More of the request; what comes behind its answer is read for a while and thrown away."""
        if self._lingers:
            self._useless += len(data)
            if self._useless > self.session.limits.unread:
                self._stop()
        else:
            self.exchange.body(data)

    # --- exchange.Downstream ----------------------------------------------------------------------------------------------

    def respond(self, status: int, headers: Headers, bodyless: bool) -> None:
        self._head = [(b":status", b"%d" % status), *headers]

    def inform(self, status: int, headers: Headers) -> None:
        self.send_headers([(b":status", b"%d" % status), *headers], False)
        self.session.flush()

    def _emit(self, end: bool) -> None:
        head, self._head = self._head, None
        if head is not None:
            self.send_headers(head, end)

    def body(self, data: bytes) -> None:
        if data:
            self._emit(False)
            self.send(data)

    def end(self, trailers: Headers) -> None:
        self._emit(not trailers)
        if not self.sent:
            self.finish(trailers)
        self.over()
        self.session.flush()

    def pump(self) -> None:
        super().pump()
        self.over()

    def over(self) -> None:
        """Once the whole answer is sent, the rest of the request is not wanted (RFC 9113 section 8.1)."""
        if not self.sent or not self.exchange.done:
            return
        if self.exchange.ended:
            self.session.forget(self)
        elif not self._lingers:  # some clients take a reset that comes with the answer for all that there is
            self._lingers = True
            self.session.front.engine.clock.call_later(_LINGER, self._stop)

    def _stop(self) -> None:
        if self.id in self.session.streams:
            self.cancel(Code.NO_ERROR)

    def reset(self) -> None:
        self.cancel(Code.INTERNAL_ERROR)

    def flush(self) -> None:
        self._emit(False)
        self.session.flush()

    def switch(self, status: int, headers: Headers, backend: Upstream) -> None:
        raise NotImplementedError("HTTP/2 has no upgrades")

    def full(self) -> None:
        self.exchange.down_full()

    def drained(self) -> None:
        self.exchange.down_drained()

    def lost(self, heard: bool, untouched: bool) -> None:
        self.exchange.gone()
