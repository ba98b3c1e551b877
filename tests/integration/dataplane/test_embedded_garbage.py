"""Clients and backends that send nearly HTTP: nothing breaks, and nothing is kept of who has left. Errors in callbacks fail the test too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import pytest
from lab import Lab, new_address, to, until

from pilothouse.clock import SystemClock
from pilothouse.dataplane.embedded.engine import EmbeddedEngine
from pilothouse.dataplane.engine import Engine
from pilothouse.dataplane.model import Edge, Endpoint, Match, Pool, Retry

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nxxxx",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nyy",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody",
    b"HTTP/1.0 200 OK\r\n\r\nbody",
)
GONE = (ConnectionError, RuntimeError)  # uvloop tells by a RuntimeError where it is known already


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = EmbeddedEngine(SystemClock())
    await engine.start()
    yield engine
    await engine.stop()


class Garbler:
    """Sends things that are slightly wrong, in pieces. What is wrong is drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def garbled(self, data: bytes) -> bytes:
        text, draw = bytearray(data), self.random
        for _ in range(draw.choice((0, 0, 1, 2, 5))):
            at = draw.randrange(len(text) + 1)
            change = draw.randrange(3)
            if change == 0:
                text[at : at + draw.randint(1, 8)] = b""
            elif change == 1:
                text[at:at] = draw.randbytes(draw.randint(1, 6))
            else:
                text[at:at] = text[draw.randrange(len(text) + 1) :][:40]
        return bytes(text)

    def http2(self) -> bytes:
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        conn.initiate_connection()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", self.random.choice(("/", "/two")))]
        for stream in (1, 3, 5):
            conn.send_headers(stream, head)
            conn.send_data(stream, b"hello", end_stream=self.random.random() < 0.5)
            if self.random.random() < 0.3:
                conn.reset_stream(stream)
        return conn.data_to_send()

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            size = self.random.randint(1, len(data))
            writer.write(data[:size])
            data = data[size:]
            await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65_536):
                await self.send(writer, self.garbled(self.random.choice(ANSWERS)))
                if self.random.random() < 0.2:
                    break
        except GONE:
            pass  # as it should be, now and then
        writer.close()

    async def ask(self, edge: Edge) -> None:
        reader, writer = await asyncio.open_connection(edge.address, edge.port)
        try:
            for _ in range(self.random.randint(1, 4)):
                whole = self.http2() if self.random.random() < 0.3 else self.random.choice(REQUESTS)
                await self.send(writer, self.garbled(whole))
                try:
                    async with asyncio.timeout(self.random.choice((0, 0.005, 0.05))):
                        await reader.read(65_536)
                except TimeoutError:
                    continue
        except GONE:
            pass  # as it should be, mostly
        if self.random.random() < 0.5:
            writer.close()
        else:
            writer.transport.abort()


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_nearly_http_breaks_nothing(lab: Lab, engine: EmbeddedEngine, seed: int) -> None:
    garbler = Garbler(seed)
    server = await asyncio.start_server(garbler.serve, new_address(), 0)
    endpoint = Endpoint(*server.sockets[0].getsockname())
    await engine.set_pool(Pool("one", (endpoint,)))
    await engine.set_pool(Pool("two", (endpoint,), "http2"))
    edge = await lab.edge(to("two", match=Match("/two")), to("one", backend_timeout=1, retry=Retry(1, (503,))))

    async def keep_asking() -> None:
        for _ in range(15):
            await garbler.ask(edge)

    await asyncio.gather(*(keep_asking() for _ in range(12)))
    await lab.backend("fine")
    edge = await lab.edge(to("fine"))
    reader, writer = await asyncio.open_connection(edge.address, edge.port)
    writer.write(REQUESTS[0])
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    running = [target for name in ("one", "two") if (pool := engine.pool(name)) for target in pool.targets]
    await until(lambda: all(target.active == 0 for target in running), 10)
    server.close()
