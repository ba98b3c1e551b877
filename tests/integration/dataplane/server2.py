"""A backend that speaks HTTP/2, in the clear by prior knowledge or over TLS: the library h2 on asyncio."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import GoAwayFrame
from lab import new_address

from pilothouse.dataplane.model import Endpoint


class _Connection(asyncio.Protocol):
    def __init__(self, server: Http2Backend) -> None:
        self.server = server
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.asked: dict[int, dict[str, Any]] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.append(self)
        self.conn.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.conn.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.asked[event.stream_id] = {"headers": dict(event.headers), "body": b""}
            elif isinstance(event, h2.events.DataReceived):
                self.asked[event.stream_id]["body"] += event.data
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.answer(event.stream_id)
        self.flush()

    def answer(self, stream: int) -> None:
        asked = self.asked.pop(stream)
        path = asked["headers"][":path"]
        self.server.seen.append(path)
        if path == "/refuse-once" and not self.server.refused:
            self.server.refused = True
            self.conn.reset_stream(stream, 7)
            return
        if path == "/leave":
            self.transport.write(GoAwayFrame(last_stream_id=stream).serialize())
        body = json.dumps({"headers": asked["headers"], "body": asked["body"].decode()}).encode()
        self.conn.send_headers(stream, [(":status", "200"), ("x-backend", self.server.name)])
        self.conn.send_data(stream, body)
        self.conn.send_headers(stream, [("x-sum", str(len(body)))], end_stream=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open -= 1


class Http2Backend:
    """Answers each request with what it was asked, and with a trailer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[str] = []
        self.connections: list[_Connection] = []
        self.open = 0
        self.refused = False
        self.endpoint = Endpoint("", 0)
        self._server: asyncio.Server | None = None

    def _made(self) -> _Connection:
        self.open += 1
        return _Connection(self)

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        address = new_address()
        self._server = await asyncio.get_running_loop().create_server(self._made, address, 0, ssl=context)
        self.endpoint = Endpoint(address, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
