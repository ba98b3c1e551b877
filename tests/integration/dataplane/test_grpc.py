"""gRPC through an edge: unary calls, streams both ways, errors and their trailers; client and server are grpcio's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from authority import Authority
from lab import Lab, new_address, to, under

from pilothouse.dataplane.model import Edge, Endpoint, Host, Match, Pool, Site, Text


async def unary(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last", "2"),))
    return request[::-1]


async def failing(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await context.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one already", (("x-detail", "3"),))
    raise AssertionError


async def counting(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


async def adding(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
    return b"%d" % sum([int(number) async for number in requests])


async def talking(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.upper()


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Failing": grpc.unary_unary_rpc_method_handler(failing),
    "Counting": grpc.unary_stream_rpc_method_handler(counting),
    "Adding": grpc.stream_unary_rpc_method_handler(adding),
    "Talking": grpc.stream_stream_rpc_method_handler(talking),
}


@pytest.fixture
async def service(lab: Lab) -> AsyncIterator[Endpoint]:
    """A server of the service `test.Service`, in the pool `grpc`."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", HANDLERS),))
    address = new_address()
    port = server.add_insecure_port(f"{address}:0")
    await server.start()
    endpoint = Endpoint(address, port)
    await lab.engine.set_pool(Pool("grpc", (endpoint,), "http2"))
    yield endpoint
    await server.stop(None)


@pytest.fixture
async def channel(lab: Lab, service: Endpoint) -> AsyncIterator[grpc.aio.Channel]:
    edge = await lab.edge(under("/test.Service", "grpc"))
    async with grpc.aio.insecure_channel(f"{edge.address}:{edge.port}") as channel:
        yield channel


async def test_a_call_is_answered_with_metadata_before_and_after(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/test.Service/Unary")(b"hello", timeout=10)
    assert await call == b"olleh"
    assert dict(await call.initial_metadata())["x-first"] == "1"
    assert dict(await call.trailing_metadata())["x-last"] == "2"


async def test_an_error_keeps_its_code_message_and_details(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary("/test.Service/Failing")(b"", timeout=10)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.ALREADY_EXISTS, "there is one already")
    assert dict(failed.value.trailing_metadata())["x-detail"] == "3"


async def test_a_stream_of_answers_passes(channel: grpc.aio.Channel) -> None:
    answers = channel.unary_stream("/test.Service/Counting")(b"1000", timeout=20)
    assert [int(answer) async for answer in answers] == list(range(1000))


async def test_a_stream_of_requests_passes(channel: grpc.aio.Channel) -> None:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(200):
            yield b"%d" % number

    assert await channel.stream_unary("/test.Service/Adding")(numbers(), timeout=20) == b"%d" % sum(range(200))


async def test_streams_in_both_directions_take_turns(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/test.Service/Talking")(timeout=20)
    for word in (b"one", b"two", b"three"):
        await call.write(word)
        assert await call.read() == word.upper()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


async def test_large_messages_pass(channel: grpc.aio.Channel) -> None:
    message = bytes(range(256)) * 8000
    assert await channel.unary_unary("/test.Service/Unary")(message, timeout=20) == message[::-1]


async def test_many_calls_run_at_once(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/test.Service/Unary")
    answers = await asyncio.gather(*(call(b"%d" % number, timeout=20) for number in range(100)))
    assert answers == [(b"%d" % number)[::-1] for number in range(100)]


async def test_a_method_without_a_rule_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary("/other.Service/Unary")(b"", timeout=10)
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_without_endpoints_is_unavailable(lab: Lab, channel: grpc.aio.Channel) -> None:
    await lab.engine.set_pool(Pool("grpc", (), "http2"))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary("/test.Service/Unary")(b"", timeout=10)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_deadline_ends_a_call_at_the_backend_too(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/test.Service/Talking")(timeout=0.3)
    await call.write(b"one")
    assert await call.read() == b"ONE"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_methods_and_headers_choose_the_backend(lab: Lab, service: Endpoint) -> None:
    match: Any = {"path": "/test.Service/Unary", "path_type": "Exact", "headers": (Text("x-version", "two"),)}
    edge = await lab.edge(to("grpc", match=Match(**match)))
    async with grpc.aio.insecure_channel(f"{edge.address}:{edge.port}") as channel:
        call = channel.unary_unary("/test.Service/Unary")
        assert await call(b"ab", timeout=10, metadata=(("x-version", "two"),)) == b"ba"
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"ab", timeout=10, metadata=(("x-version", "one"),))


async def test_grpc_over_tls_ends_at_the_edge(lab: Lab, service: Endpoint) -> None:
    authority = Authority()
    sites = (Site("", (Host(rules=(to("grpc"),)),), (authority.certificate("service.example"),)),)
    edge: Edge = await lab.edge(tls=True, sites=sites)
    credentials = grpc.ssl_channel_credentials(authority.pem.encode())
    options = (("grpc.ssl_target_name_override", "service.example"),)
    async with grpc.aio.secure_channel(f"{edge.address}:{edge.port}", credentials, options) as channel:
        assert await channel.unary_unary("/test.Service/Unary")(b"hello", timeout=10) == b"olleh"
