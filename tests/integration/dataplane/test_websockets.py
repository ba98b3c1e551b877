"""WebSockets through an edge, by aiohttp on both ends."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from authority import Authority
from lab import Lab, to, under, until, url

from pilothouse.dataplane.model import Host, Pool, Site

Http = aiohttp.ClientSession


async def echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=("chat",))
    await socket.prepare(request)
    await socket.send_str(f"welcome to {request.path}")
    async for message in socket:
        if message.data == "bye":
            await socket.close(code=4001)
        elif message.type == aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data[::-1])
        else:
            await socket.send_bytes(message.data[::-1])
    return socket


async def test_a_websocket_carries_messages_both_ways(lab: Lab, http: Http) -> None:
    await lab.backend("a", echo)
    edge = await lab.edge(to("a"))
    async with http.ws_connect(url(edge, "/room"), protocols=("chat",)) as socket:
        assert socket.protocol == "chat"
        assert await socket.receive_str() == "welcome to /room"
        await socket.send_str("hello")
        assert await socket.receive_str() == "olleh"
        await socket.send_bytes(b"ab" * 500_000)
        assert await socket.receive_bytes() == b"ba" * 500_000
        await socket.send_str("bye")
        await socket.receive()
    assert socket.close_code == 4001


async def test_a_websocket_outlives_its_endpoint_in_the_pool(lab: Lab, http: Http) -> None:
    await lab.backend("a", echo)
    edge = await lab.edge(to("a"))
    async with http.ws_connect(url(edge)) as socket:
        await socket.receive_str()
        await lab.engine.set_pool(Pool("a"))
        await socket.send_str("still here")
        assert await socket.receive_str() == "ereh llits"


async def test_a_websocket_that_a_backend_refuses_is_an_ordinary_answer(lab: Lab, http: Http) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403)

    await lab.backend("a", refuse)
    edge = await lab.edge(under("/a", "a"))
    for path, status in (("/a", 403), ("/b", 404)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url(edge, path))
        assert refused.value.status == status


async def test_websockets_pass_where_tls_ends(lab: Lab) -> None:
    authority = Authority()
    await lab.backend("a", echo)
    sites = (Site("", (Host(rules=(to("a"),)),), (authority.certificate("127.0.0.1", "localhost"),)),)
    edge = await lab.edge(tls=True, sites=sites)
    context = authority.context()
    context.check_hostname = False
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http, http.ws_connect(url(edge)) as socket:
        assert await socket.receive_str() == "welcome to /"
        await socket.send_str("hello")
        assert await socket.receive_str() == "olleh"


async def test_a_client_that_leaves_ends_the_backends_side(lab: Lab, http: Http) -> None:
    ended = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.receive()
        ended.set()
        return socket

    backend = await lab.backend("a", wait)
    edge = await lab.edge(to("a"))
    socket = await http.ws_connect(url(edge))
    await until(lambda: len(backend.seen) == 1)
    await socket.close()
    await asyncio.wait_for(ended.wait(), 5)
