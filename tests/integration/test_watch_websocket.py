"""Watches over WebSocket, opened with a real WebSocket client over TLS."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from test_https import CONFIG_MAPS, Connection, config_map

from pilothouse.api import protobuf, tables
from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub


@pytest.fixture
async def hub(pilothouse_certificates: Path, tmp_path: Path) -> AsyncIterator[ApiHub]:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("secret,admin,admin,system:masters\n")
    hub = ApiHub(Settings(pilothouse_certificates, port=0, token_auth_file=tokens), clock=SystemClock())
    await hub.server.start()
    yield hub
    await hub.server.stop()


class Browser:
    """A session that trusts the hub, with a token in its headers (or not)."""

    def __init__(self, hub: ApiHub, token: str = "secret") -> None:
        context = ssl.create_default_context(cafile=str(hub.pki.ca))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.session = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=context))
        self.base = f"https://127.0.0.1:{hub.server.port}"

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.session.close()

    async def watch(self, query: str = "", **options: Any) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(f"{self.base}{CONFIG_MAPS}?watch=true&{query}", max_msg_size=0, **options)


async def create(hub: ApiHub, *names: str, text: str = "") -> None:
    connection = await Connection.open(hub)
    for name in names:
        assert (await connection.ask("POST", CONFIG_MAPS, config_map(name, text)))[0] == 201
    await connection.close()


async def events(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[tuple[str, str]]:
    told = []
    for _ in range(count):
        event = orjson.loads(await socket.receive_str(timeout=10))
        told.append((event["type"], event["object"]["metadata"].get("name", "")))
    return told


async def test_each_event_is_a_message(hub: ApiHub) -> None:
    await create(hub, "a")
    async with Browser(hub) as browser:
        socket = await browser.watch("labelSelector=&fieldSelector=metadata.name%21%3Dkube-root-ca.crt")
        assert await events(socket, 1) == [("ADDED", "a")]
        await create(hub, "b", "c")
        assert await events(socket, 2) == [("ADDED", "b"), ("ADDED", "c")]
        await create(hub, "big", text="x" * 100_000)
        assert await events(socket, 1) == [("ADDED", "big")]
        await socket.ping(b"still there?")
        await socket.close()
        assert socket.close_code == 1000
    async with asyncio.timeout(10):
        while len(hub.server.handlers.watches):
            await asyncio.sleep(0.01)


async def test_the_end_of_a_watch_closes_the_socket(hub: ApiHub) -> None:
    async with Browser(hub) as browser:
        socket = await browser.watch("timeoutSeconds=1&fieldSelector=metadata.name%3Dnone")
        message = await socket.receive(timeout=10)
        assert message.type == aiohttp.WSMsgType.CLOSE and message.data == 1000
        await socket.close()


async def test_a_browser_brings_its_token_as_a_subprotocol(hub: ApiHub) -> None:
    await create(hub, "a")
    token = base64.urlsafe_b64encode(b"secret").rstrip(b"=").decode()
    offered = (f"base64url.bearer.authorization.k8s.io.{token}", "base64.binary.k8s.io")
    async with Browser(hub, token="") as browser:
        socket = await browser.watch("fieldSelector=metadata.name%3Da", protocols=offered)
        assert socket.protocol == "base64.binary.k8s.io" and await events(socket, 1) == [("ADDED", "a")]
        await socket.close()
        for protocols in (offered[:1], ("base64.binary.k8s.io",)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await browser.watch(protocols=protocols)
            assert refused.value.status == 403
        wrong = base64.urlsafe_b64encode(b"wrong").decode().rstrip("=")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.watch(protocols=(f"base64url.bearer.authorization.k8s.io.{wrong}", offered[1]))
        assert refused.value.status == 401


async def test_protobuf_comes_in_binary_messages(hub: ApiHub) -> None:
    await create(hub, "a")
    async with Browser(hub) as browser:
        accept = {"Accept": "application/vnd.kubernetes.protobuf;stream=watch"}
        socket = await browser.watch("fieldSelector=metadata.name%3Da", headers=accept)
        fields = {number: value for number, _, value in protobuf._fields(await socket.receive_bytes(timeout=10))}
        obj = protobuf.read(protobuf._fields(fields[2])[0][2], tables.schema_for("", "v1", "ConfigMap"))
        assert (fields[1], obj["metadata"]["name"]) == (b"ADDED", "a")
        await socket.close()


async def test_a_forgotten_revision_is_an_error_event_and_a_wrong_option_no_handshake(hub: ApiHub) -> None:
    await create(hub, "a", "b")
    hub.server.cache("", "configmaps").oldest = hub.server.feed.revision
    await hub.server.options.store.compact(hub.server.feed.revision)
    async with Browser(hub) as browser:
        socket = await browser.watch("resourceVersion=2")
        event = orjson.loads(await socket.receive_str(timeout=10))
        assert (event["type"], event["object"]["reason"]) == ("ERROR", "Expired")
        await socket.close()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.watch("fieldSelector=nothing%3Dx")
        assert refused.value.status == 400


async def test_the_server_stops_with_open_sockets(pilothouse_certificates: Path) -> None:
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    connection = await Connection.open(hub)
    key = base64.b64encode(b"0" * 16).decode()
    connection.send(
        "GET",
        f"{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Dx",
        None,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    code, headers = await connection.head()
    assert (code, headers["upgrade"], len(headers["sec-websocket-accept"])) == (101, "websocket", 28)
    await asyncio.wait_for(hub.server.stop(), 5)
    assert await asyncio.wait_for(connection.reader.read(), 5) == b"\x88\x02\x03\xe8"
    await connection.close()
