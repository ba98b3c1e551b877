"""The API server's wire as a client sees it: TLS, identities in certificates, streams, and clients that do not read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def hub(pilothouse_certificates: Path) -> AsyncIterator[ApiHub]:
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    yield hub
    await hub.server.stop()


class Connection:
    """One TLS connection on which requests are written and answers are read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, hub: ApiHub, identity: str | None = "admin", **stream: Any) -> Connection:
        context = ssl.create_default_context(cafile=str(hub.pki.ca))
        if identity:
            context.load_cert_chain(hub.pki.certificate(identity), hub.pki.key(identity))
        return cls(*await asyncio.open_connection("127.0.0.1", hub.server.port, ssl=context, **stream))

    def send(self, method: str, target: str, body: Any = None, *headers: str) -> None:
        data = b"" if body is None else orjson.dumps(body)
        head = [
            f"{method} {target} HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *headers,
        ]
        self.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        return int(lines[0].split()[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}

    async def answer(self) -> tuple[int, Any]:
        code, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            data = b"".join([piece async for piece in self.chunks()])
        else:
            data = await self.reader.readexactly(int(headers["content-length"]))
        return code, orjson.loads(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int(await asyncio.wait_for(self.reader.readline(), 10), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def ask(self, method: str, target: str, body: Any = None, *headers: str) -> tuple[int, Any]:
        self.send(method, target, body, *headers)
        return await self.answer()

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


def config_map(name: str, text: str = "") -> Any:
    return {"metadata": {"name": name}, "data": {"text": text}}


async def test_a_certificate_says_who_one_is(hub: ApiHub) -> None:
    connection = await Connection.open(hub)
    code, review = await connection.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert code == 201 and "system:masters" in review["status"]["userInfo"]["groups"]
    await connection.close()


async def test_who_shows_no_certificate_is_nobody(hub: ApiHub) -> None:
    connection = await Connection.open(hub, None)
    code, status = await connection.ask("GET", CONFIG_MAPS)
    assert (code, status["reason"]) == (403, "Forbidden") and 'User "system:anonymous"' in status["message"]
    code, status = await connection.ask("GET", CONFIG_MAPS, None, "Authorization: Bearer made-up")
    assert (code, status["reason"]) == (401, "Unauthorized")
    await connection.close()


async def test_requests_sent_at_once_are_answered_in_order_on_one_connection(hub: ApiHub) -> None:
    connection = await Connection.open(hub)
    for n in range(20):
        connection.send("POST", CONFIG_MAPS, config_map(f"c-{n}"))
        connection.send("GET", f"{CONFIG_MAPS}/c-{n}")
    for n in range(20):
        for expected in (201, 200):
            code, obj = await connection.answer()
            assert (code, obj["metadata"]["name"]) == (expected, f"c-{n}")
    await connection.close()


async def test_an_answer_of_many_megabytes_arrives_whole(hub: ApiHub) -> None:
    connection = await Connection.open(hub)
    for n in range(8):
        assert (await connection.ask("POST", CONFIG_MAPS, config_map(f"big-{n}", "x" * 900_000)))[0] == 201
    code, found = await connection.ask("GET", CONFIG_MAPS)
    texts = [len(item["data"].get("text", "")) for item in found["items"] if item["metadata"]["name"].startswith("big-")]
    assert code == 200 and texts == [900_000] * 8
    await connection.close()


async def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(hub: ApiHub) -> None:
    connection = await Connection.open(hub)
    code, status = await connection.ask("POST", CONFIG_MAPS, config_map("huge", "x" * (3 << 20)))
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")
    await connection.close()
    other = await Connection.open(hub)
    assert (await other.ask("GET", "/version"))[0] == 200
    await other.close()


async def test_a_watch_brings_each_event_at_once_and_ends_with_its_time(hub: ApiHub) -> None:
    watching, writing = await Connection.open(hub), await Connection.open(hub)
    _, found = await writing.ask("GET", CONFIG_MAPS)
    since = found["metadata"]["resourceVersion"]
    watching.send("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion={since}&timeoutSeconds=2")
    assert (await watching.head())[0] == 200
    frames = watching.chunks()
    for n in range(3):
        await writing.ask("POST", CONFIG_MAPS, config_map(f"w-{n}"))
        event = orjson.loads(await anext(frames))
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", f"w-{n}")
    assert [frame async for frame in frames] == []
    assert (await watching.ask("GET", "/version"))[0] == 200  # the connection is as good as before
    await watching.close()
    await writing.close()


async def test_a_client_that_does_not_read_its_watch_holds_up_nobody(hub: ApiHub) -> None:
    deaf, hearing, writing = [await Connection.open(hub, limit=1024) for _ in range(3)]
    for connection in (deaf, hearing):
        connection.send("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=0&fieldSelector=metadata.name=loud")
    seen = 0
    assert (await hearing.head())[0] == 200
    frames = hearing.chunks()
    await writing.ask("POST", CONFIG_MAPS, config_map("loud", "0"))
    await anext(frames)
    for n in range(60):
        code, _ = await writing.ask("PUT", f"{CONFIG_MAPS}/loud", config_map("loud", str(n) * 400_000))
        assert code == 200
        seen += len([event for event in (await anext(frames)).split(b"\n") if event])
    assert seen == 60
    for connection in (deaf, hearing, writing):
        await connection.close()


async def test_stopping_ends_open_watches_and_says_so(hub: ApiHub) -> None:
    connection = await Connection.open(hub)
    await connection.ask("POST", CONFIG_MAPS, config_map("a"))
    connection.send("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=0")
    assert (await connection.head())[0] == 200
    frames = connection.chunks()
    await anext(frames)  # what was there
    await asyncio.wait_for(hub.server.stop(), 5)
    assert [frame async for frame in frames] == []
    await connection.close()
