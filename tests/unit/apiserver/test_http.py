"""The wire, with a trivial application and real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from pilothouse.apiserver import http
from pilothouse.apiserver.messages import Answer, Request, Response, Stream, chunk_of


def application(request: Request) -> Answer:
    if request.target == "/later":
        return later(request)
    if request.target == "/stream":
        return Response(200, stream=streamed)
    if request.target == "/parts":
        return Response(200, parts=iter([b"a" * 300_000, b"b", b"c" * 700_000]), length=1_000_001)
    if request.target == "/lazy":
        return Response(200, parts=iter([b"a" * 300_000, b"b"]))
    if request.target == "/faulty":
        return Response(200, parts=(b"a" * (100_000 // n) for n in (1, 0)))
    if request.target == "/split":
        return Response(200, headers=[("Warning", "a\r\nSet-Cookie: b\nc ü")])
    if request.too_large:
        return Response(413)
    return Response(
        200, f"{request.method} {request.target} {request.body.decode()} {request.header(b'x-a')}".encode(), "text/plain"
    )


async def later(request: Request) -> Response:
    await asyncio.sleep(0.01)
    return Response(201, b"later", "text/plain")


def streamed(stream: Stream) -> None:
    stream.write(chunk_of(b"one"))
    stream.write(chunk_of(b"two"))
    stream.finish()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = http.HttpServer(application, lambda: 0.0)
    yield await server.start("127.0.0.1", 0, None)
    await server.stop(grace=0.1)


async def talk(port: int, data: bytes, end: bytes = b"") -> bytes:
    """Send and read until the server has said `end`, or hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    got = b""
    while not (end and got.endswith(end)):
        piece = await asyncio.wait_for(reader.read(65536), 5)
        if not piece:
            break
        got += piece
    writer.close()
    return got


async def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    got = await talk(
        port, b"GET /later HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nX-A: 5\r\nContent-Length: 2\r\n\r\nhi", b"POST /b hi 5"
    )
    assert got.index(b"201 Created") < got.index(b"later") < got.index(b"200 OK")


async def test_a_connection_is_closed_when_the_client_asks_for_it(port: int) -> None:
    got = await talk(port, b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert got.endswith(b"GET /x  ")


async def test_a_wish_to_upgrade_that_is_not_granted_changes_nothing(port: int) -> None:
    wish = b"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    got = await talk(port, wish + wish + b"GET /y HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 OK") == 3 and got.endswith(b"GET /y  ")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):  # one after the other, too
        writer.write(wish)
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"GET /x  "), 5)
    writer.close()


async def test_head_sends_the_length_and_no_body(port: int) -> None:
    got = await talk(port, b"HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 9" in got and got.endswith(b"\r\n\r\n")


async def test_a_stream_is_chunked_and_the_connection_goes_on(port: int) -> None:
    got = await talk(port, b"GET /stream HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200 OK" in got


async def test_large_answers_arrive_whole(port: int) -> None:
    got = await talk(port, b"GET /parts HTTP/1.1\r\nConnection: close\r\n\r\n")
    body = got.partition(b"\r\n\r\n")[2]
    assert body == b"a" * 300_000 + b"b" + b"c" * 700_000


async def test_parts_of_unknown_length_are_chunked_and_the_connection_goes_on(port: int) -> None:
    got = await talk(port, b"GET /lazy HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
    head, _, rest = got.partition(b"\r\n\r\n")
    body, _, after = rest.partition(b"0\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head
    assert body.count(b"a") == 300_000 and body.endswith(b"1\r\nb\r\n") and after.startswith(b"HTTP/1.1 200 OK")


async def test_an_answer_that_cannot_be_made_to_its_end_is_cut_off_without_one(port: int) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert not (await talk(port, b"GET /faulty HTTP/1.1\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_chunked_bodies_and_expectations_are_understood(port: int) -> None:
    head = b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    got = await talk(port, head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK") and b"POST /b abc" in got


async def test_bodies_over_the_limit_are_told_apart_but_not_kept(port: int) -> None:
    size = http.BODY_LIMIT + 1
    got = await talk(port, b"POST /b HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert got.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(("line", "code"), [(b"GET / HTTP/9.x\r\n\r\n", b"400"), (b"FOO /x HTTP/1.1\r\n\r\n", b"405")])
async def test_what_is_no_request_is_refused_and_hung_up_on(port: int, line: bytes, code: bytes) -> None:
    got = await talk(port, line)
    assert got.startswith(b"HTTP/1.1 " + code)


async def test_a_client_that_goes_away_ends_its_stream() -> None:
    ended = asyncio.Event()

    def endless(stream: Stream) -> None:
        stream.write(chunk_of(b"x"))
        stream.on_close = ended.set

    server = http.HttpServer(lambda request: Response(200, stream=endless), lambda: 0.0)
    port = await server.start("127.0.0.1", 0, None)
    await talk(port, b"GET / HTTP/1.1\r\n\r\n", b"x\r\n")
    await asyncio.wait_for(ended.wait(), 5)
    await server.stop(grace=0.1)


async def test_a_header_cannot_be_ended_from_within(port: int) -> None:
    got = await talk(port, b"GET /split HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert "\r\nWarning: a  Set-Cookie: b c ü\r\n".encode() in got
