"""What the embedded engine allows a client, and that it leaves nothing behind. Time is virtual where time counts."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from lab import Lab, new_address, to, until, url

from pilothouse.clock import SystemClock, VirtualClock
from pilothouse.dataplane.embedded.engine import EmbeddedEngine
from pilothouse.dataplane.embedded.limits import Limits
from pilothouse.dataplane.embedded.listening import Listening
from pilothouse.dataplane.model import Edge, Forward, Pool

Http = aiohttp.ClientSession


@asynccontextmanager
async def laboratory(clock: Any = None, **limits: Any) -> AsyncIterator[Lab]:
    engine = EmbeddedEngine(clock or SystemClock(), Limits(**limits))
    await engine.start()
    lab = Lab(engine)
    try:
        yield lab
    finally:
        await lab.stop()
        await engine.stop()


async def connect(front: Edge | Forward) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(front.address, front.port)


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionError:
        return True


async def test_a_head_is_limited_whether_it_ends_or_not() -> None:
    async with laboratory(head=4096) as lab:
        await lab.backend("a")
        edge = await lab.edge(to("a"))
        for text in (b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"x" * 5000), b"GET /%s" % (b"x" * 5000)):
            reader, writer = await connect(edge)
            writer.write(text)
            assert b" 431 " in await reader.readline()
            writer.close()


async def test_connections_beyond_the_limit_are_closed_as_they_come() -> None:
    async with laboratory(connections=2) as lab:
        backend = await lab.tcp_backend("one")
        front = await lab.forward(backend.endpoint)
        kept = [await connect(front) for _ in range(2)]
        for reader, _ in kept:
            assert await reader.readline() == b"one\n"
        reader, writer = await connect(front)
        assert await ended(reader)
        writer.close()
        kept[0][1].close()
        await until(lambda: len(backend.open) == 1)
        reader, writer = await connect(front)
        assert await reader.readline() == b"one\n"
        for one in (writer, kept[1][1]):
            one.close()


async def test_a_connection_without_a_request_ends_after_its_time() -> None:
    clock = VirtualClock()
    async with laboratory(clock) as lab:
        await lab.backend("a")
        edge = await lab.edge(to("a"))
        reader, writer = await connect(edge)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b'"body": ""}')
        await clock.advance(60)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b'"body": ""}')
        await clock.advance(60)
        assert not reader.at_eof()
        await clock.advance(20)
        assert await ended(reader)
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_request_that_does_not_come_is_not_waited_for(begun: bytes) -> None:
    clock = VirtualClock()
    async with laboratory(clock) as lab:
        edge = await lab.edge(to("a"))
        reader, writer = await connect(edge)
        writer.write(begun)
        await clock.advance(15)
        assert await ended(reader)
        writer.close()


async def test_a_request_that_runs_is_not_idle() -> None:
    clock = VirtualClock()
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await go_on.wait()
        return web.Response(text="done")

    async with laboratory(clock) as lab, Http() as http:
        backend = await lab.backend("a", slow)
        edge = await lab.edge(to("a"))
        asking = asyncio.create_task(http.get(url(edge)))
        await until(lambda: len(backend.seen) == 1)
        await clock.advance(600)
        go_on.set()
        async with await asking as answer:
            assert await answer.text() == "done"


async def test_a_client_that_asks_and_never_reads_is_not_read_for_ever() -> None:
    async with laboratory() as lab:
        edge = await lab.edge()
        _, writer = await connect(edge)
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
        sent = 0
        try:
            async with asyncio.timeout(5):
                while sent < 200_000_000:
                    writer.write(request)
                    await asyncio.wait_for(writer.drain(), 0.5)
                    sent += len(request)
        except TimeoutError:
            pass  # it is held up, as it should be
        assert sent < 200_000_000
        writer.transport.abort()


async def test_a_client_that_expects_a_word_first_and_is_refused_is_not_misunderstood() -> None:
    async with laboratory() as lab:
        edge = await lab.edge()
        reader, writer = await connect(edge)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 404 " in head and b"connection: close" in head
        writer.close()


async def test_a_front_becomes_another_kind_on_its_address() -> None:
    async with laboratory() as lab, Http() as http:
        backend = await lab.backend("a")
        front = await lab.forward(backend.endpoint)
        edge = replace(await lab.edge(to("a")), name="forward", address=front.address, port=front.port)
        for _ in range(2):
            async with http.get(url(edge)) as answer:
                assert "x-forwarded-for" not in (await answer.json())["headers"]
            await lab.engine.set_front(edge)
            async with Http() as other, other.get(url(edge)) as answer:
                assert "x-forwarded-for" in (await answer.json())["headers"]
            await lab.engine.set_front(front)


async def test_nothing_is_left_when_the_engine_stops() -> None:
    async with laboratory() as lab, Http() as http:
        backend = await lab.backend("a")
        tcp, udp = await lab.tcp_backend("b"), await lab.udp_backend("c")
        edge = await lab.edge(to("a"))
        async with http.get(url(edge)):
            pass
        await lab.forward(udp.endpoint, transport="UDP")
        await lab.engine.drop_front("forward")
        front = await lab.forward(tcp.endpoint)
        reader, writer = await connect(front)
        await reader.readline()
        await lab.engine.stop()
        assert await ended(reader)
        await until(lambda: not tcp.open)
        writer.close()
        for address in (edge, front):
            with pytest.raises(OSError):
                await connect(address)
        assert lab.engine.counters() == {}
        assert len(backend.seen) == 1


async def test_many_connections_leave_no_objects_behind() -> None:
    async with laboratory() as lab:
        await lab.backend("a")
        edge = await lab.edge(to("a"))

        async def once() -> None:
            async with Http() as http, http.get(url(edge)) as answer:
                await answer.read()

        def ours() -> int:
            gc.collect()
            return sum(str(type(thing).__module__).startswith("pilothouse.dataplane") for thing in gc.get_objects())

        for _ in range(5):
            await once()
        await asyncio.sleep(0.05)
        before = ours()
        for _ in range(50):
            await once()
        await asyncio.sleep(0.05)
        assert ours() <= before + 5


def test_the_engine_runs_on_pythons_own_loop_too() -> None:
    async def main() -> None:
        async with laboratory() as lab, Http() as http:
            backend = await lab.backend("a")
            edge = await lab.edge(to("a"))
            async with http.post(url(edge), data=b"content") as answer:
                assert (await answer.json())["body"] == "content"
            front = await lab.forward(backend.endpoint)
            async with http.get(f"http://{front.address}:{front.port}/") as answer:
                assert answer.status == 200

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(main())


async def test_telling_what_is_so_already_changes_nothing() -> None:
    async with laboratory() as lab:
        backend = await lab.tcp_backend("one")
        front = await lab.forward(backend.endpoint)
        reader, writer = await connect(front)
        await reader.readline()
        for _ in range(3):
            await lab.engine.set_front(front)
            await lab.engine.set_pool(Pool("forwarded", (backend.endpoint,)))
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_connections_wait_while_there_are_no_descriptors_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[socket.socket] = []
    listening = Listening(new_address(), 0)
    accept, tries = socket.socket.accept, 0

    def none_left(sock: socket.socket) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", none_left)
    listening.whole(taken.append, SystemClock())
    client = socket.create_connection(listening._sock.getsockname())
    await until(lambda: len(taken) == 1)
    assert tries <= 5, "it does not try over and over"
    listening.close()
    for sock in (client, *taken):
        sock.close()
