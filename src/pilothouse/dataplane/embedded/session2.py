"""What both ends of an HTTP/2 connection have in common: frames in and out, and how fast (RFC 9113).

A stream's data waits here while its window, the connection's window or the socket is full, and its source is told to stop. What arrives is
acknowledged as it is passed on, so a side that does not read stops the other by its window. The state of streams and the compression of
headers are the library's (h2).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

from pilothouse.dataplane.embedded.closed import CLOSED
from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.limits import Limits
from pilothouse.dataplane.embedded.tunnel import no_delay

Code = h2.errors.ErrorCodes
#: What a peer may send before it is passed on: of one stream, and of a connection.
_WINDOW, _ALL_WINDOWS = 262_144, 4_194_304
#: Bytes of a stream that wait to be sent before its source stops, and when it goes on.
_HIGH, _LOW = 262_144, 65_536
_HIGH_WATER = 524_288
#: A peer that reads nothing of so much, and goes on sending, is cut off: what we owe it (acknowledgements, errors) would only grow.
_OWED = 8_388_608


class _Connection(h2.connection.H2Connection):
    """The library's, except that GOAWAY lets the streams that run come to their end, as it should (RFC 9113 section 6.8)."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        return [], [event]


class Stream:
    """One stream's data on its way out. Subclasses say what arrives, and hear when the way is full or free again."""

    id = 0
    _queued = 0
    _full = False
    _paused = False
    _unread = 0
    _ending: Headers | None = None
    #: END_STREAM was sent; nothing more can be.
    sent = False

    def __init__(self, session: Session) -> None:
        self.session = session
        self._queue: deque[bytes | memoryview] = deque()

    def full(self) -> None:
        raise NotImplementedError

    def drained(self) -> None:
        raise NotImplementedError

    def lost(self, heard: bool, untouched: bool) -> None:
        """The stream ends before its time. `untouched`: the peer says that it has done nothing about it."""
        raise NotImplementedError

    def send_headers(self, headers: Headers, end: bool) -> None:
        try:
            self.session.conn.send_headers(self.id, headers, end_stream=end)
        except h2.exceptions.ProtocolError:
            return  # reset by the peer: the event comes next
        self.sent = self.sent or end

    def send(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued += len(data)
        self.pump()
        if self._queued > _HIGH and not self._full:
            self._full = True
            self.full()

    def finish(self, trailers: Headers) -> None:
        self._ending = trailers
        self.pump()

    def pump(self) -> None:
        """Send what the windows let through."""
        try:
            self._pump()
        except h2.exceptions.ProtocolError:
            self._queue.clear()
            self._queued = 0
        if self._full and self._queued < _LOW:
            self._full = False
            self.drained()

    def _pump(self) -> None:
        conn, queue = self.session.conn, self._queue
        while queue:
            if self.session.blocked:
                return
            size = min(conn.local_flow_control_window(self.id), conn.max_outbound_frame_size)
            if size <= 0:
                return
            data = queue[0]
            if len(data) <= size:
                queue.popleft()
                self.sent = self._ending == [] and not queue
                conn.send_data(self.id, data, end_stream=self.sent)
            else:
                data = memoryview(data)
                conn.send_data(self.id, data[:size])
                queue[0] = data[size:]
            self._queued -= min(len(data), size)
        if self._ending is not None and not self.sent:
            self.sent = True
            if self._ending:
                conn.send_headers(self.id, self._ending, end_stream=True)
            else:
                conn.end_stream(self.id)

    def arrived(self, size: int) -> None:
        """So much was passed on; the peer may send as much again, unless the way ahead is full."""
        if self._paused:
            self._unread += size
        else:
            self.session.acknowledge(self.id, size)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        size, self._unread = self._unread, 0
        if size:
            self.session.acknowledge(self.id, size)
            self.session.flush()

    def cancel(self, code: Code) -> None:
        """Reset the stream and forget it."""
        self.session.forget(self)
        try:
            self.session.conn.reset_stream(self.id, code)
        except h2.exceptions.ProtocolError:
            return  # it is closed already
        self.session.flush()


def _settings(client_side: bool, limits: Limits) -> dict[h2.settings.SettingCodes, int]:
    code = h2.settings.SettingCodes
    settings = {code.INITIAL_WINDOW_SIZE: _WINDOW, code.MAX_CONCURRENT_STREAMS: limits.streams}
    settings[code.MAX_HEADER_LIST_SIZE] = limits.head
    if client_side:
        settings[code.ENABLE_PUSH] = 0
    return settings


class Session(asyncio.Protocol):
    """A connection."""

    def __init__(self, client_side: bool, limits: Limits) -> None:
        config = h2.config.H2Configuration(
            client_side=client_side, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.conn = _Connection(config)
        # Given, not changed: a change would count only once the peer has taken note of it.
        self.conn.local_settings = h2.settings.Settings(client_side, _settings(client_side, limits))
        self.conn.decoder.max_header_list_size = limits.head
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.transport = cast(asyncio.Transport, None)
        self._flushing = False
        self._soon = asyncio.get_running_loop().call_soon
        self.blocked = False
        #: No new streams: one side has said so.
        self.leaving = False
        self._events: dict[type, Callable[[Any], None]] = {
            h2.events.DataReceived: self.on_data,
            h2.events.StreamReset: self._on_reset,
            h2.events.WindowUpdated: self._on_window,
            h2.events.RemoteSettingsChanged: self._on_settings,
            h2.events.ConnectionTerminated: self._on_goaway,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        no_delay(transport)
        self.conn.initiate_connection()
        self.conn.increment_flow_control_window(_ALL_WINDOWS - 65_535)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.count_in(len(data))
        try:
            events = self.conn.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.close()  # what is sent says what was wrong
            return
        handlers = self._events
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(event)
        self.flush()
        if self.blocked and self.transport.get_write_buffer_size() > _OWED:
            self.transport.abort()
        if self.leaving and not self.streams:
            self.close()

    def count_in(self, size: int) -> None:
        """So many bytes came."""

    def count_out(self, size: int) -> None:
        """So many bytes went."""

    def flush(self) -> None:
        """Send what there is, at the end of this turn of the loop: what several streams have to say by then goes in one write."""
        if not self._flushing:
            self._flushing = True
            self._soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self.conn.data_to_send()
        if data and not self.transport.is_closing():
            self.count_out(len(data))
            self.transport.write(data)

    def close(self) -> None:
        """End, behind what there is to send."""
        self._flush()
        self.transport.close()

    def acknowledge(self, stream: int, size: int) -> None:
        if size:
            self.conn.acknowledge_received_data(size, stream)

    def forget(self, stream: Stream) -> None:
        """A stream has ended, one way or the other."""
        if self.streams.pop(stream.id, None) is not None:
            self.acknowledge(stream.id, stream._unread)
            stream._unread = 0
            if not self.streams:
                self.idle()

    def idle(self) -> None:
        """The last stream has ended."""

    def on_data(self, event: Any) -> None:
        raise NotImplementedError

    def _on_reset(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self.forget(stream)
            stream.lost(True, event.error_code == Code.REFUSED_STREAM)

    def _on_window(self, event: Any) -> None:
        if event.stream_id:
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.pump()
        else:
            self._pump()

    def _on_settings(self, event: Any) -> None:
        self._pump()

    def _on_goaway(self, event: Any) -> None:
        self.leave()
        ours = self.conn.config.client_side
        for stream in [stream for stream in self.streams.values() if ours and stream.id > event.last_stream_id]:
            self.forget(stream)
            stream.lost(False, True)

    def leave(self) -> None:
        """Begin nothing new here; what runs goes on."""
        self.leaving = True

    def _pump(self) -> None:
        for stream in list(self.streams.values()):
            stream.pump()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        self._pump()
        self.flush()

    def goaway(self, last: int) -> None:
        """Tell the peer to begin nothing new. The library's own way would end what runs."""
        self._flush()
        if not self.transport.is_closing():
            self.transport.write(GoAwayFrame(last_stream_id=last).serialize())

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = CLOSED
        self.leaving = True
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.lost(False, False)
