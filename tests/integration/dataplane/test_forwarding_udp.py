"""UDP forwards, by plain sockets. HAProxy carries no UDP (outside of its QUIC and syslog), so only the embedded engine does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from lab import Lab, free_port, new_address

from pilothouse.clock import SystemClock, VirtualClock
from pilothouse.dataplane.embedded.engine import EmbeddedEngine
from pilothouse.dataplane.engine import Engine
from pilothouse.dataplane.model import Endpoint, Forward, Pool


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = EmbeddedEngine(SystemClock())
    await engine.start()
    yield engine
    await engine.stop()


class Caller:
    """One client's socket."""

    def __init__(self, front: Forward, source: str) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind((source, 0))
        self._sock.connect((front.address, front.port))  # so that only the front's address is heard

    async def ask(self, data: bytes, seconds: float = 5.0) -> bytes:
        """What comes back; b"" if nothing does."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._sock, data)
            return await asyncio.wait_for(loop.sock_recv(self._sock, 65_536), seconds)
        except (TimeoutError, ConnectionRefusedError):
            return b""

    def close(self) -> None:
        self._sock.close()


@asynccontextmanager
async def calling(front: Forward, source: str = "127.0.0.1") -> AsyncIterator[Caller]:
    caller = Caller(front, source)
    yield caller
    caller.close()


async def test_datagrams_are_answered_from_the_fronts_address(lab: Lab) -> None:
    backend = await lab.udp_backend("one")
    front = await lab.forward(backend.endpoint, transport="UDP")
    async with calling(front) as caller:
        assert await caller.ask(b"hello") == b"one:hello"
        assert await caller.ask(b"x" * 20_000) == b"one:" + b"x" * 20_000


async def test_a_session_stays_with_its_endpoint_and_sessions_take_turns(lab: Lab) -> None:
    backends = [await lab.udp_backend(name) for name in "ab"]
    front = await lab.forward(*(backend.endpoint for backend in backends), transport="UDP")
    async with calling(front) as one, calling(front) as two:
        first, second = await one.ask(b"1"), await two.ask(b"1")
        assert first != second
        assert [await one.ask(b"1") for _ in range(4)] == [first] * 4
    assert lab.engine.counters()["forward"].connections == 2


async def test_sessions_of_one_address_share_their_endpoint_where_the_pool_has_affinity(lab: Lab) -> None:
    backends = [await lab.udp_backend(name) for name in "ab"]
    front = await lab.forward(*(backend.endpoint for backend in backends), transport="UDP", affinity=60)
    answers = set()
    for _ in range(6):
        async with calling(front) as caller:
            answers.add(await caller.ask(b"1"))
    assert len(answers) == 1


async def test_a_session_whose_endpoint_leaves_goes_on_with_another(lab: Lab) -> None:
    before, after = await lab.udp_backend("before"), await lab.udp_backend("after")
    front = await lab.forward(before.endpoint, transport="UDP")
    async with calling(front) as caller:
        assert await caller.ask(b"1") == b"before:1"
        await lab.engine.set_pool(Pool("forwarded", (after.endpoint,)))
        assert await caller.ask(b"2") == b"after:2"


async def test_a_datagram_that_an_endpoint_refuses_is_sent_to_another(lab: Lab) -> None:
    backend = await lab.udp_backend("there")
    address = new_address()
    nobody = Endpoint(address, free_port(address, socket.SOCK_DGRAM))
    front = await lab.forward(nobody, backend.endpoint, transport="UDP")
    for _ in range(3):
        async with calling(front) as caller:
            assert await caller.ask(b"1") == b"there:1"


async def test_only_source_ranges_may_send(lab: Lab) -> None:
    backend = await lab.udp_backend("one")
    friend = new_address()
    front = await lab.forward(backend.endpoint, transport="UDP", source_ranges=(friend,))
    async with calling(front, friend) as caller, calling(front, "127.0.0.9") as stranger:
        assert await stranger.ask(b"1", 0.1) == b""
        assert await caller.ask(b"1") == b"one:1"
    assert backend.seen == [b"1"]


async def test_an_idle_session_ends_and_the_next_datagram_begins_another() -> None:
    clock = VirtualClock()
    engine = EmbeddedEngine(clock)
    await engine.start()
    lab = Lab(engine)
    backends = [await lab.udp_backend(name) for name in "ab"]
    front = await lab.forward(*(backend.endpoint for backend in backends), transport="UDP")
    async with calling(front) as caller:
        first = await caller.ask(b"1")
        await clock.advance(50)
        assert await caller.ask(b"1") == first
        await clock.advance(70)
        assert await caller.ask(b"1") != first
    await lab.stop()
    await engine.stop()


async def test_a_front_told_anew_keeps_its_sessions(lab: Lab) -> None:
    backends = [await lab.udp_backend(name) for name in "ab"]
    front: Any = await lab.forward(*(backend.endpoint for backend in backends), transport="UDP")
    async with calling(front) as caller:
        first = await caller.ask(b"1")
        await lab.engine.set_front(replace(front, source_ranges=("127.0.0.0/8",)))
        assert await caller.ask(b"1") == first


async def test_a_dropped_front_leaves_no_socket(lab: Lab) -> None:
    backend = await lab.udp_backend("one")
    front = await lab.forward(backend.endpoint, transport="UDP")
    async with calling(front) as caller:
        assert await caller.ask(b"1") == b"one:1"
        await lab.engine.drop_front("forward")
        assert await caller.ask(b"1", 0.1) == b""
    await lab.engine.set_front(front)


async def test_a_front_on_all_addresses_of_an_interface_answers_from_the_one_that_was_asked(lab: Lab) -> None:
    backend = await lab.udp_backend("one")
    await lab.engine.set_pool(Pool("forwarded", (backend.endpoint,)))
    port = free_port("0.0.0.0", socket.SOCK_DGRAM)
    await lab.engine.set_front(Forward("everywhere", "0.0.0.0", port, "UDP", "forwarded", interface="lo"))
    for address in ("127.0.0.1", "127.9.8.7"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((address, port))  # the kernel drops answers from elsewhere
            for text in (b"a", b"b"):
                await asyncio.get_running_loop().sock_sendall(client, text)
                async with asyncio.timeout(5):
                    assert await asyncio.get_running_loop().sock_recv(client, 99) == b"one:" + text
