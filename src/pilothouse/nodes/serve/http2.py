"""HTTP/2 of a simulated pod, by prior knowledge (RFC 9113), and gRPC on it: every call is answered with the messages that it sent.

A gRPC call echoes whatever comes, unary or streamed; the health service (grpc.health.v1) tells the pod's readiness. A status set by annotation
becomes the gRPC code that stands for it. A pod that is asked to stop sends GOAWAY once, so that clients open no more streams, and goes on with
those they have.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame

from pilothouse.clock import Timer
from pilothouse.nodes.answers import SERVER, Answer, Asked

if TYPE_CHECKING:
    from pilothouse.nodes.serve.connection import Connection

_HEALTH = "/grpc.health.v1.Health/"
#: A HealthCheckResponse in its frame: SERVING and NOT_SERVING.
_SERVING, _NOT_SERVING = b"\0\0\0\0\2\x08\x01", b"\0\0\0\0\2\x08\x02"
#: gRPC's codes for answers of HTTP ("HTTP to gRPC Status Code Mapping").
_CODES = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2
#: The last stream's number in the first GOAWAY: any may still come.
_ANY = 2**31 - 1

Fields = list[tuple[str, str]]


@dataclass(slots=True)
class _Stream:
    """A request and what of its answer has still to be sent."""

    asked: Asked
    grpc: bool
    body: int = 0
    ended: bool = False
    begun: bool = False
    due: deque[bytes] = field(default_factory=deque)
    trailers: Fields | None = None
    last: bool = False
    timer: Timer | None = None


class Http2:
    """One connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pod, self._place, self._transport = connection.pod, connection.place, connection.transport
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._streams: dict[int, _Stream] = {}
        self._told = False
        self._flush()

    @property
    def busy(self) -> bool:
        return bool(self._streams)

    def data(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._on(event)
        except ProtocolError:
            self._flush()
            self._transport.close()
            return
        self._flush()
        if self._pod.stopping and not self._transport.is_closing():
            self.stopping()
        self._connection.rest()

    def eof(self) -> None:
        self._streams.clear()

    def stopping(self) -> None:
        """Once a client has asked something: one that is sent away before takes the server for broken."""
        if not self._told and self._h2.highest_inbound_stream_id:
            self._told = True
            self._transport.write(GoAwayFrame(0, last_stream_id=_ANY).serialize())

    def end(self) -> None:
        self._h2.close_connection()
        self._flush()

    # --- what comes ---------------------------------------------------------------------------------------------------------------------

    def _on(self, event: object) -> None:
        if isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._body(event)
        elif isinstance(event, StreamEnded):
            self._ended(event.stream_id)
        elif isinstance(event, StreamReset):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None and stream.timer is not None:
                stream.timer.cancel()
        elif isinstance(event, WindowUpdated):
            for number in [event.stream_id] if event.stream_id else list(self._streams):
                self._send(number)

    def _request(self, event: RequestReceived) -> None:
        sent = cast("list[tuple[str, str]]", event.headers)  # texts, by the configuration
        fields = dict(reversed(sent))
        host = fields.get(":authority") or fields.get("host", "")
        headers = tuple((n, v) for n, v in sent if not n.startswith(":"))
        asked = Asked(fields.get(":method", ""), fields.get(":path", "/"), "HTTP/2.0", host, headers)
        self._streams[event.stream_id] = _Stream(asked, fields.get("content-type", "").startswith("application/grpc"))

    def _body(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        stream.body += len(event.data)
        if stream.grpc and not stream.asked.path.startswith(_HEALTH):
            stream.due.append(event.data)
            if stream.begun:
                self._send(event.stream_id)
            elif stream.timer is None:
                self._later(event.stream_id, stream)

    def _ended(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.ended = True
        if stream.begun:
            self._finish(number, stream)
        elif stream.timer is None:
            self._later(number, stream)

    # --- what goes ----------------------------------------------------------------------------------------------------------------------

    def _later(self, number: int, stream: _Stream) -> None:
        delay = self._pod.delay()
        if delay <= 0:
            self._begin(number)
            return

        def begin() -> None:
            self._begin(number)
            self._flush()
            self._connection.rest()

        stream.timer = self._pod.clock.call_later(delay, begin)

    def _begin(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None or self._transport.is_closing():
            return
        stream.begun = True
        if stream.grpc:
            self._begin_grpc(number, stream)
        else:
            asked = stream.asked
            whole = Asked(asked.method, asked.path, asked.proto, asked.host, asked.headers, stream.body)
            self._answer(number, stream, self._pod.answer(self._place, whole))

    def _answer(self, number: int, stream: _Stream, answer: Answer) -> None:
        head = [(":status", str(answer.status)), *self._standing(), ("content-length", str(len(answer.body)))]
        if answer.content_type:
            head.append(("content-type", answer.content_type))
        bodyless = stream.asked.method == "HEAD" or not answer.body
        self._h2.send_headers(number, head, end_stream=bodyless)
        if bodyless:
            del self._streams[number]
            return
        stream.due.append(answer.body)
        stream.last = True
        self._send(number)

    def _begin_grpc(self, number: int, stream: _Stream) -> None:
        self._pod.arrived()
        self._pod.spend(self._place.container)
        path, how = stream.asked.path, self._pod.behaviour
        head = [(":status", "200"), *self._standing(), ("content-type", "application/grpc")]
        status = how.status_of(path)
        if path.startswith(_HEALTH):
            well = self._pod.ready and status < 400
            stream.due.append(_SERVING if well else _NOT_SERVING)
        elif status >= 400:
            told = [("grpc-status", str(_CODES.get(status, _UNKNOWN))), ("grpc-message", f"status {status} is set by annotation")]
            self._h2.send_headers(number, [*head, *told], end_stream=True)
            del self._streams[number]
            return
        self._h2.send_headers(number, head)
        self._send(number)
        if stream.ended:
            self._finish(number, stream)

    def _finish(self, number: int, stream: _Stream) -> None:
        if stream.grpc:
            stream.trailers = [("grpc-status", "0")]
            stream.last = True
            self._send(number)

    def _send(self, number: int) -> None:
        """As much of what is due as the client's windows take."""
        stream = self._streams.get(number)
        if stream is None or not stream.begun:
            return
        while stream.due:
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            piece = stream.due.popleft()
            if len(piece) > room:
                stream.due.appendleft(piece[room:])
                piece = piece[:room]
            closing = stream.last and not stream.due and stream.trailers is None
            self._h2.send_data(number, piece, end_stream=closing)
        if stream.last:
            if stream.trailers is not None:
                self._h2.send_headers(number, stream.trailers, end_stream=True)
            del self._streams[number]

    def _standing(self) -> Fields:
        return [("server", SERVER), ("x-pod-name", self._pod.name)]

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
