"""Small pages over plain HTTP."""

from __future__ import annotations

import asyncio

import aiohttp

from pilothouse.client.plainserving import NOT_FOUND, Page, PlainServer


def answer(path: str, address: str) -> Page:
    return Page(200, f"at {address}\n", headers=(("X-A", "b"),)) if path == "/healthz" else NOT_FOUND


async def test_a_page_is_told_the_address_that_it_was_asked_at() -> None:
    server = PlainServer(answer)
    await server.start(("127.0.0.1", 0))
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
            async with http.get("/healthz?verbose") as got:
                assert (got.status, got.headers["X-A"], await got.text()) == (200, "b", "at 127.0.0.1\n")
            async with http.head("/healthz") as got:
                assert (got.status, got.headers["Content-Length"]) == (200, "13")
            async with http.get("/other") as got:
                assert got.status == 404
            async with http.post("/healthz") as got:
                assert got.status == 405
    finally:
        await server.stop()


async def test_what_is_no_request_is_hung_up_on() -> None:
    server = PlainServer(answer)
    await server.start(("127.0.0.1", 0))
    try:
        for noise in (b"\0" * 20_000, b"no end"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(noise)
            writer.write_eof()
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass  # it did not read to the end
            writer.close()
    finally:
        await server.stop()
