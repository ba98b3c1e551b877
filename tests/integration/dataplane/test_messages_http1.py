"""How HTTP/1.1 messages pass: framing, connections, sizes, and what is refused. Raw bytes where no client would send them."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from lab import Lab, to, until, url

from pilothouse.dataplane.model import Edge, Endpoint, Host, Pool, Site

Http = aiohttp.ClientSession


class Raw:
    """A connection on which the bytes are ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer that has a length."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        length = int(headers.get("content-length", 0))
        return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(data)
        return await self.answer()

    async def ended(self) -> bool:
        """Whether the other side closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def raw(edge: Edge) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection(edge.address, edge.port)
    yield Raw(reader, writer)
    writer.close()


GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_bodies_in_chunks_pass_both_ways(lab: Lab, http: Http) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers.get("Transfer-Encoding") == "chunked"
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk.upper())
        return response

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))

    async def parts() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"part %d;" % number
            await asyncio.sleep(0.01)

    async with http.post(url(edge), data=parts()) as got:
        assert got.headers["Transfer-Encoding"] == "chunked"
        assert await got.text() == "PART 0;PART 1;PART 2;PART 3;PART 4;"


async def test_an_answer_that_comes_in_parts_is_passed_on_as_it_comes(lab: Lab, http: Http) -> None:
    heard = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.wait_for(heard.wait(), 5)
        await response.write(b"second")
        return response

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    async with http.get(url(edge)) as got:
        assert await got.content.readexactly(5) == b"first"
        heard.set()
        assert await got.content.read() == b"second"


async def test_large_bodies_pass_unchanged(lab: Lab, http: Http) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=(await request.read())[::-1])

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    content = bytes(range(251)) * 40_000
    async with http.put(url(edge), data=io.BytesIO(content)) as got:
        assert hashlib.sha256(await got.read()).digest() == hashlib.sha256(content[::-1]).digest()


async def test_answers_without_bodies_pass(lab: Lab, http: Http) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": "1000", "X-Backend": "a"})
        return web.Response(status=int(request.path[1:]))

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    for _ in range(3):
        async with http.head(url(edge)) as got:
            assert (got.status, got.headers["Content-Length"], await got.read()) == (200, "1000", b"")
        for status in (204, 304, 200):
            async with http.get(url(edge, f"/{status}")) as got:
                assert (got.status, await got.read()) == (status, b"")


async def test_a_client_connection_and_a_backend_connection_carry_many_requests(lab: Lab) -> None:
    peers = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text=request.path)

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        for number in range(5):
            status, _, body = await client.ask(GET % number)
            assert (status, body) == (200, b"/%d" % number)
    assert len(peers) == 1


async def test_pipelined_requests_are_answered_in_order(lab: Lab) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return web.Response(text=request.path)

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        client.writer.write(b"".join(GET % number for number in range(40)))
        assert [(await client.answer())[2] for _ in range(40)] == [b"/%d" % number for number in range(40)]


async def test_requests_that_come_byte_by_byte_are_understood(lab: Lab) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        for byte in b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0.001)
        status, _, body = await client.answer()
    assert (status, b'"body": "abc"' in body, b'"method": "PUT"' in body) == (200, True, True)


async def test_connection_close_is_honoured(lab: Lab) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        status, headers, _ = await client.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (status, headers["connection"]) == (200, "close")
        assert await client.ended()


async def test_an_http_1_0_client_gets_an_answer_that_it_understands(lab: Lab) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some content")
        return response

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        client.writer.write(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await asyncio.wait_for(client.reader.read(), 5)).partition(b"\r\n\r\n")
    assert b" 200 OK" in head and b"chunked" not in head.lower()
    assert body == b"some content"


async def test_what_belongs_to_one_connection_stays_there(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        _, headers, body = await client.ask(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Public: 1\r\n\r\n"
        )
    assert b'"x-public": "1"' in body
    for name in (b"x-private", b"keep-alive", b"proxy-connection", b'"te"'):
        assert name not in body.lower()
    assert "keep-alive" not in headers


async def test_expect_100_continue_lets_the_backend_decide(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with http.post(url(edge), data=b"content", expect100=True) as got:
        assert (got.status, (await got.json())["body"]) == (200, "content")


async def test_an_offer_to_go_on_in_http2_is_passed_over(lab: Lab) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        offer = b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        assert (await client.ask(offer))[0] == 200
        assert (await client.ask(GET % 2))[0] == 200


async def test_a_whole_address_in_the_request_line_names_the_host(lab: Lab) -> None:
    await lab.backend("a")
    edge = await lab.edge(sites=(Site(hosts=(Host("a.example", (to("a"),)),)),))
    async with raw(edge) as client:
        status, _, body = await client.ask(b"GET http://a.example/path?q HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert (status, b'/path?q"' in body) == (200, True)


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"this is no HTTP at all\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    ],
)  # fmt: skip
async def test_what_could_be_read_in_two_ways_is_refused(lab: Lab, request_: bytes) -> None:
    backend = await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        status, _, _ = await client.ask(request_)
        if b"chunked\r\n" in request_ and backend.seen:  # RFC 9112, section 6.3: a proxy may do without the length instead
            assert (status, "content-length" in backend.seen[0]["headers"]) == (200, False)
            return
        assert status == 400
        assert await client.ended()
    assert backend.seen == []


async def test_a_head_that_is_too_long_is_431(lab: Lab) -> None:
    backend = await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        lines = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(200))
        status, _, _ = await client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
        assert status in (400, 431)
        assert await client.ended()
    assert backend.seen == []


async def test_a_backend_that_breaks_off_is_not_taken_for_one_that_ended(lab: Lab, http: Http) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    await lab.engine.set_pool(Pool("broken", (Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),)))
    edge = await lab.edge(to("broken"))
    with pytest.raises(aiohttp.ClientError):
        async with http.get(url(edge)) as got:
            await got.read()
    server.close()


@pytest.mark.parametrize(
    "answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345"]
)
async def test_a_backend_that_speaks_no_http_is_502(lab: Lab, http: Http, answer: bytes) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    await lab.engine.set_pool(Pool("broken", (Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),)))
    edge = await lab.edge(to("broken"))
    async with http.get(url(edge)) as got:
        assert got.status == 502
    server.close()


async def test_an_answer_without_a_length_ends_with_its_connection(lab: Lab, http: Http) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nsome ")
        await writer.drain()
        writer.write(b"content")
        writer.close()

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    await lab.engine.set_pool(Pool("old", (Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),)))
    edge = await lab.edge(to("old"))
    for _ in range(2):
        async with http.get(url(edge)) as got:
            assert await got.text() == "some content"
    server.close()


async def test_trailers_pass(lab: Lab) -> None:
    async def trailing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum: 42\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    asked: list[bytes] = []
    server = await asyncio.start_server(trailing, "127.0.0.1", 0)
    await lab.engine.set_pool(Pool("trailing", (Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),)))
    edge = await lab.edge(to("trailing"))
    async with raw(edge) as client:
        client.writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Mine: 7\r\n\r\n"
        )
        await client.reader.readuntil(b"\r\n\r\n")
        rest = await client.reader.readuntil(b"\r\n\r\n")
    assert rest.lower().endswith(b"0\r\nx-sum: 42\r\n\r\n")
    assert b"x-mine: 7" in asked[0].lower()
    server.close()


async def test_an_answer_that_comes_before_the_request_has_ended_is_passed_on(lab: Lab, http: Http) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=413, text="too much")

    await lab.backend("a", refuse)
    edge = await lab.edge(to("a"))

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000
            await asyncio.sleep(0.005)

    async with http.post(url(edge), data=endless()) as got:
        assert (got.status, await got.text()) == (413, "too much")


async def test_a_client_that_leaves_is_noticed_by_the_backend(lab: Lab) -> None:
    left = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        left.set()
        return web.Response()

    backend = await lab.backend("a", slow)
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        client.writer.write(GET % 1)
        await until(lambda: len(backend.seen) == 1)
    await asyncio.wait_for(left.wait(), 5)


async def test_a_client_that_does_not_read_holds_up_its_backend(lab: Lab) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 100_000_000:
            await response.write(b"x" * 100_000)
            sent += 100_000
        return response

    await lab.backend("a", flood)
    edge = await lab.edge(to("a"))
    async with raw(edge) as client:
        client.writer.write(GET % 1)
        await client.reader.readexactly(1)
        before = -1
        async with asyncio.timeout(10):
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
        assert sent < 60_000_000
        client.writer.transport.abort()
