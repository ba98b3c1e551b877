"""TCP forwards of both engines, by plain connections."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from lab import Lab, free_port, new_address, until

from pilothouse.dataplane.model import Endpoint, Forward, Pool

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def opened(front: Forward, source: str | None = None) -> AsyncIterator[Streams]:
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(front.address, front.port, local_addr=local)
    try:
        yield reader, writer
    finally:
        writer.close()


async def greeting(front: Forward, source: str | None = None) -> str:
    """The name of the backend that a connection reaches."""
    async with opened(front, source) as (reader, _):
        return (await reader.readline()).decode().strip()


async def refused(front: Forward, source: str | None = None) -> bool:
    """Whether a connection is refused, or ends without having carried anything."""
    try:
        async with opened(front, source) as (reader, _):
            return await reader.read() == b""
    except OSError:
        return True


def nobody() -> Endpoint:
    """Where nobody listens."""
    address = new_address()
    return Endpoint(address, free_port(address))


async def test_bytes_go_through_in_both_directions(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    async with opened(front) as (reader, writer):
        assert await reader.readline() == b"one\n"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"


async def test_megabytes_go_through_unchanged_while_the_client_reads_slowly(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    sent = random.Random(1).randbytes(16_000_000)
    async with opened(front) as (reader, writer):
        await reader.readline()

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.05)
        assert await reader.readexactly(len(sent)) == sent
        assert await reader.read() == b"<end>"
        await sending


async def test_a_client_that_ends_its_direction_still_hears_the_answer(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    async with opened(front) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"one\nlast words<end>"


async def test_connections_go_to_the_endpoints_in_turn(lab: Lab) -> None:
    backends = [await lab.tcp_backend(name) for name in "abc"]
    front = await lab.forward(*(backend.endpoint for backend in backends))
    assert Counter([await greeting(front) for _ in range(9)]) == {"a": 3, "b": 3, "c": 3}


async def test_an_endpoint_that_refuses_is_passed_over(lab: Lab) -> None:
    backend = await lab.tcp_backend("there")
    front = await lab.forward(nobody(), backend.endpoint)
    assert {await greeting(front) for _ in range(6)} == {"there"}


async def test_without_an_endpoint_connections_are_refused(lab: Lab) -> None:
    front = await lab.forward()
    assert await refused(front)
    await lab.engine.set_pool(Pool("forwarded", (nobody(),)))
    assert await refused(front)


async def test_new_endpoints_take_effect_when_the_call_returns(lab: Lab) -> None:
    before, after = await lab.tcp_backend("before"), await lab.tcp_backend("after")
    front = await lab.forward(before.endpoint)
    assert await greeting(front) == "before"
    await lab.engine.set_pool(Pool("forwarded", (after.endpoint,)))
    assert {await greeting(front) for _ in range(4)} == {"after"}


async def test_an_open_connection_outlives_its_endpoint_in_the_pool_and_its_front(lab: Lab) -> None:
    backend, other = await lab.tcp_backend("one"), await lab.tcp_backend("two")
    front = await lab.forward(backend.endpoint)
    async with opened(front) as (reader, writer):
        assert await reader.readline() == b"one\n"
        await lab.engine.set_pool(Pool("forwarded", (other.endpoint,)))
        assert await greeting(front) == "two"
        await lab.engine.set_front(replace(front, source_ranges=("127.0.0.0/8",)))
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"


async def test_only_source_ranges_may_come_in(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    friend, stranger = new_address(), "127.0.0.9"
    front = await lab.forward(backend.endpoint, source_ranges=(f"{friend}/32", "10.0.0.0/8"))
    assert await greeting(front, friend) == "one"
    assert await refused(front, stranger)


async def test_affinity_brings_a_client_to_the_endpoint_it_had(lab: Lab) -> None:
    backends = [await lab.tcp_backend(name) for name in "abc"]
    front = await lab.forward(*(backend.endpoint for backend in backends), affinity=60)
    clients = [new_address() for _ in range(6)]
    first = [await greeting(front, client) for client in clients]
    assert len(set(first)) > 1
    assert [await greeting(front, client) for client in clients] == first


async def test_affinity_ends_with_its_time(lab: Lab) -> None:
    backends = [await lab.tcp_backend(name) for name in "ab"]
    front = await lab.forward(*(backend.endpoint for backend in backends), affinity=1)
    client = new_address()
    first = await greeting(front, client)
    seen = {first}
    async with asyncio.timeout(20):
        while len(seen) < 2:
            await asyncio.sleep(1.3)
            seen.add(await greeting(front, client))


async def test_affinity_does_not_hold_a_client_to_an_endpoint_that_left(lab: Lab) -> None:
    backends = {name: await lab.tcp_backend(name) for name in "ab"}
    front = await lab.forward(*(backend.endpoint for backend in backends.values()), affinity=60)
    had = await greeting(front)
    other = "ab".replace(had, "")
    await lab.engine.set_pool(Pool("forwarded", (backends[other].endpoint,), affinity_seconds=60))
    assert await greeting(front) == other


async def test_several_fronts_have_the_same_port_on_their_own_addresses(lab: Lab) -> None:
    one, two = await lab.tcp_backend("one"), await lab.tcp_backend("two")
    front = await lab.forward(one.endpoint)
    await lab.engine.set_pool(Pool("more", (two.endpoint,)))
    second = Forward("second", new_address(), front.port, "TCP", "more")
    await lab.engine.set_front(second)
    assert (await greeting(front), await greeting(second)) == ("one", "two")


async def test_a_front_moves_to_another_address(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    moved = replace(front, address=new_address())
    await lab.engine.set_front(moved)
    assert await greeting(moved) == "one"
    assert await refused(front)


async def test_a_dropped_front_is_refused_and_its_address_free(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    await lab.engine.drop_front("forward")
    assert await refused(front)
    await lab.engine.set_front(replace(front, name="another"))
    assert await greeting(front) == "one"


async def test_an_address_that_is_taken_is_an_error_and_the_front_stays_as_it_was(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    with pytest.raises(OSError):
        await lab.engine.set_front(replace(front, address=backend.endpoint.host, port=backend.endpoint.port))
    assert await greeting(front) == "one"


async def test_what_a_front_carried_is_counted(lab: Lab) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    async with opened(front) as (reader, writer):
        writer.write(b"12345")
        writer.write_eof()
        await reader.read()
    await until(lambda: lab.engine.counters()["forward"].connections == 1)
    counted = lab.engine.counters()["forward"]
    assert (counted.bytes_in, counted.bytes_out) == (5, len(b"one\n12345<end>"))
