"""HTTP/2 towards backends: connections that carry many requests at once, gRPC among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h2.events

from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.pools import Target
from pilothouse.dataplane.embedded.session2 import Code, Session, Stream

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine
    from pilothouse.dataplane.embedded.exchange import Exchange

#: Streams on one connection where the backend sets no limit of its own.
_STREAMS = 100


class Http2Upstream(Session):
    """One connection; it is in its target's list for as long as it takes new streams."""

    def __init__(self, engine: EmbeddedEngine, target: Target, secure: bool) -> None:
        super().__init__(True, engine.limits)
        self._engine = engine
        self.target = target
        self.scheme = b"https" if secure else b"http"
        self.expires = engine.now + engine.limits.idle_upstream
        self._events[h2.events.ResponseReceived] = self._on_response
        self._events[h2.events.InformationalResponseReceived] = self._on_information
        self._events[h2.events.TrailersReceived] = self._on_trailers
        self._events[h2.events.StreamEnded] = self._on_end

    @property
    def busy(self) -> bool:
        return bool(self.streams)

    def first(self) -> ClientStream:
        """A stream for the request that the connection was made for; others find it in the target's list."""
        if self.target.gone:
            self.leave()
        else:
            self.target.shared.append(self)
        return ClientStream(self)

    def stream(self) -> ClientStream | None:
        """A stream for another request, if there is room."""
        room = min(self.conn.remote_settings.max_concurrent_streams, max(_STREAMS, self.limits.streams))
        if self.leaving or self.transport.is_closing() or len(self.streams) >= room:
            return None
        return ClientStream(self)

    def leave(self) -> None:
        super().leave()
        if self in self.target.shared:
            self.target.shared.remove(self)

    def close(self) -> None:
        """Take nothing new, and end with what runs."""
        self.leave()
        if not self.streams:
            super().close()

    def idle(self) -> None:
        self.expires = self._engine.now + self._engine.limits.idle_upstream
        if self.leaving:
            super().close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        super().connection_lost(exc)

    def _stream(self, event: Any) -> ClientStream | None:
        stream = self.streams.get(event.stream_id)
        return stream if isinstance(stream, ClientStream) else None

    def _on_information(self, event: Any) -> None:
        stream = self._stream(event)
        if stream is not None:
            status, headers = _split(event.headers)
            stream.exchange.up_inform(status, headers)

    def _on_response(self, event: Any) -> None:
        stream = self._stream(event)
        if stream is not None:
            stream.heard = True
            status, headers = _split(event.headers)
            bodyless = stream.exchange.method == b"HEAD" or status in (204, 304)
            stream.exchange.up_head(status, headers, bodyless)
            if event.stream_ended is None and self._stream(event) is not None:
                stream.exchange.down.flush()

    def on_data(self, event: Any) -> None:
        stream = self._stream(event)
        if stream is None:
            self.acknowledge(event.stream_id, event.flow_controlled_length)
            return
        down = stream.exchange.down
        if event.data:
            down.body(event.data)
        stream.arrived(event.flow_controlled_length)
        if event.stream_ended is None:
            down.flush()

    def _on_trailers(self, event: Any) -> None:
        stream = self._stream(event)
        if stream is not None:
            stream.trailers = list(event.headers)

    def _on_end(self, event: Any) -> None:
        stream = self._stream(event)
        if stream is None:
            return
        if stream.sent:
            self.forget(stream)
        else:  # answered before it was asked in full: the rest is not wanted
            stream.cancel(Code.NO_ERROR)
        stream.exchange.up_end(stream.trailers)


class ClientStream(Stream):
    """One request: an `upstream.Upstream`."""

    session: Http2Upstream
    exchange: Exchange
    heard = False

    def __init__(self, session: Http2Upstream) -> None:
        super().__init__(session)
        self.trailers: Headers = []

    def begin(self, exchange: Exchange) -> None:
        session = self.session
        self.exchange = exchange
        self.id = session.conn.get_next_available_stream_id()
        session.streams[self.id] = self
        headers: Headers = [
            (b":method", exchange.method),
            (b":scheme", session.scheme),
            (b":authority", exchange.host),
            (b":path", exchange.target),
            *exchange.head,
        ]
        if exchange.length is not None:
            headers.append((b"content-length", exchange.length))
        if exchange.expects_trailers:
            headers.append((b"te", b"trailers"))
        self.send_headers(headers, exchange.length in (None, b"0") and not exchange.asks_body)

    def body(self, data: bytes) -> None:
        if data:
            self.send(data)

    def end(self, trailers: Headers) -> None:
        if not self.sent:
            self.finish(trailers)

    def flush(self) -> None:
        self.session.flush()

    def drop(self) -> None:
        self.cancel(Code.CANCEL)

    def full(self) -> None:
        self.exchange.up_full()

    def drained(self) -> None:
        self.exchange.up_drained()

    def lost(self, heard: bool, untouched: bool) -> None:
        self.exchange.up_lost(heard or self.heard, untouched)
        self.exchange.down.flush()


def _split(headers: list[tuple[bytes, bytes]]) -> tuple[int, Headers]:
    """The status, and the headers behind it."""
    return int(headers[0][1]), [pair for pair in headers if pair[0][:1] != b":"]
