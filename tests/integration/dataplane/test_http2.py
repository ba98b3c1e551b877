"""HTTP/2 in front and behind; the client is httpx."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from authority import Authority
from lab import Lab, to, under, until, url
from server2 import Http2Backend

from pilothouse.dataplane.model import Edge, Host, Pool, Rule, Site, UpstreamTls


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def clear() -> AsyncIterator[httpx.AsyncClient]:
    """A client with prior knowledge."""
    async with httpx.AsyncClient(http1=False, http2=True, timeout=10) as client:
        yield client


async def backend2(lab: Lab, name: str, context: ssl.SSLContext | None = None, tls: UpstreamTls | None = None) -> Http2Backend:
    backend = Http2Backend(name)
    await backend.start(context)
    lab.keep(backend)
    await lab.engine.set_pool(Pool(name, (backend.endpoint,), "http2", tls))
    return backend


async def secure_edge(lab: Lab, authority: Authority, *rules: Rule) -> Edge:
    sites = (Site("", (Host(rules=rules),), (authority.certificate("127.0.0.1", "localhost"),)),)
    return await lab.edge(tls=True, sites=sites)


def trusting(authority: Authority, **client: Any) -> httpx.AsyncClient:
    context = authority.context()
    context.check_hostname = False
    return httpx.AsyncClient(verify=context, timeout=10, **client)


async def test_http2_is_offered_over_tls(lab: Lab, authority: Authority) -> None:
    backend = await lab.backend("a")
    edge = await secure_edge(lab, authority, to("a"))
    async with trusting(authority, http2=True) as client:
        answer = await client.post(url(edge, "/path?q=1"), content=b"content", headers={"X-Mine": "1"})
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
    asked = answer.json()
    assert (asked["method"], asked["path"], asked["body"]) == ("POST", "/path?q=1", "content")
    assert asked["headers"]["host"] == f"{edge.address}:{edge.port}"
    assert asked["headers"]["x-mine"] == "1"
    assert backend.seen[0]["headers"]["x-forwarded-proto"] == "https"


async def test_a_client_of_http_1_is_served_on_the_same_edge(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    edge = await secure_edge(lab, authority, to("a"))
    async with trusting(authority) as client:
        answer = await client.get(url(edge))
    assert (answer.http_version, answer.status_code) == ("HTTP/1.1", 200)


async def test_http2_in_the_clear_is_taken_from_who_knows(lab: Lab, clear: httpx.AsyncClient) -> None:
    await lab.backend("a")
    edge = await lab.edge(under("/a", "a"))
    answer = await clear.get(url(edge, "/a"))
    assert (answer.http_version, answer.status_code, answer.headers["x-backend"]) == ("HTTP/2", 200, "a")
    assert (await clear.get(url(edge, "/b"))).status_code == 404


async def test_many_requests_run_at_once_on_one_connection(lab: Lab, clear: httpx.AsyncClient) -> None:
    running = highest = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0.1)
        running -= 1
        return web.Response(text=request.path)

    await lab.backend("a", slow)
    edge = await lab.edge(to("a"))
    answers = await asyncio.gather(*(clear.get(url(edge, f"/{number}")) for number in range(40)))
    assert [answer.text for answer in answers] == [f"/{number}" for number in range(40)]
    assert highest > 20
    assert lab.engine.counters()["edge"].connections == 1


async def test_large_bodies_pass_both_ways(lab: Lab, clear: httpx.AsyncClient) -> None:
    async def reverse(request: web.Request) -> web.Response:
        return web.Response(body=(await request.read())[::-1])

    await lab.backend("a", reverse)
    edge = await lab.edge(to("a"))
    content = bytes(range(251)) * 12_000
    answer = await clear.post(url(edge), content=io.BytesIO(content).read())
    assert answer.content == content[::-1]


async def test_answers_without_bodies_end_their_streams(lab: Lab, clear: httpx.AsyncClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=204 if request.method == "GET" else 200, headers={"X-Backend": "a"})

    await lab.backend("a", answer)
    edge = await lab.edge(to("a"))
    assert (await clear.get(url(edge))).status_code == 204
    head = await clear.head(url(edge))
    assert (head.status_code, head.content, head.headers["x-backend"]) == (200, b"", "a")


async def test_a_request_without_a_length_reaches_a_backend_of_http_1(lab: Lab, clear: httpx.AsyncClient) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))

    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"part %d;" % number
            await asyncio.sleep(0.01)

    answer = await clear.post(url(edge), content=parts())
    assert answer.json()["body"] == "part 0;part 1;part 2;"


async def test_an_answer_that_comes_before_the_request_has_ended_is_passed_on(lab: Lab, clear: httpx.AsyncClient) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=413, text="too much")

    await lab.backend("a", refuse)
    edge = await lab.edge(to("a"))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000
            await asyncio.sleep(0.005)

    answer = await clear.post(url(edge), content=parts())
    assert (answer.status_code, answer.text) == (413, "too much")


async def test_a_backend_is_spoken_to_in_http2_by_prior_knowledge(lab: Lab, clear: httpx.AsyncClient) -> None:
    backend = await backend2(lab, "b")
    edge = await lab.edge(to("b"))
    assert (await clear.post(url(edge), content=b"content")).status_code == 200  # later ones share this one's connection
    answers = await asyncio.gather(*(clear.post(url(edge, f"/{number}"), content=b"content") for number in range(20)))
    for answer in answers:
        assert (answer.status_code, answer.headers["x-backend"], answer.json()["body"]) == (200, "b", "content")
    assert len(backend.connections) < 20


async def test_a_client_of_http_1_reaches_a_backend_of_http2(lab: Lab) -> None:
    await backend2(lab, "b")
    edge = await lab.edge(to("b"))
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(url(edge, "/x"), content=b"content", headers={"Host": "name.example"})
        asked = answer.json()
        assert (answer.status_code, asked["body"]) == (200, "content")
        assert "name.example" in (asked["headers"].get(":authority"), asked["headers"].get("host"))
        for _ in range(3):
            assert (await client.get(url(edge))).status_code == 200


async def test_a_backend_of_http2_is_spoken_to_over_tls(lab: Lab, clear: httpx.AsyncClient, authority: Authority) -> None:
    tls = UpstreamTls("backend.example", authority.pem)
    await backend2(lab, "b", authority.server("backend.example", alpn=("h2",)), tls)
    edge = await lab.edge(to("b"))
    assert (await clear.get(url(edge))).headers["x-backend"] == "b"


async def test_a_stream_that_a_backend_refuses_is_tried_again(lab: Lab, clear: httpx.AsyncClient) -> None:
    if lab.engine.name == "haproxy":
        pytest.skip("HAProxy passes a refused stream on as a reset")
    backend = await backend2(lab, "b")
    edge = await lab.edge(to("b"))
    assert (await clear.post(url(edge, "/refuse-once"), content=b"x")).status_code == 200
    assert backend.seen == ["/refuse-once", "/refuse-once"]


async def test_a_backend_that_takes_no_more_streams_is_connected_to_anew(lab: Lab, clear: httpx.AsyncClient) -> None:
    backend = await backend2(lab, "b")
    edge = await lab.edge(to("b"))
    assert (await clear.get(url(edge, "/leave"))).status_code == 200
    assert (await clear.get(url(edge, "/more"))).status_code == 200
    assert len(backend.connections) == 2


async def test_an_endpoint_of_http2_that_leaves_gets_no_request_and_loses_its_connection(
    lab: Lab, clear: httpx.AsyncClient
) -> None:
    leaving, staying = await backend2(lab, "leaving"), await backend2(lab, "staying")
    await lab.engine.set_pool(Pool("b", (leaving.endpoint,), "http2"))
    edge = await lab.edge(to("b"))
    assert (await clear.get(url(edge))).headers["x-backend"] == "leaving"
    await lab.engine.set_pool(Pool("b", (staying.endpoint,), "http2"))
    assert (await clear.get(url(edge))).headers["x-backend"] == "staying"
    await until(lambda: leaving.open == 0)


async def test_an_endpoint_of_http2_that_is_not_there_is_503(lab: Lab, clear: httpx.AsyncClient) -> None:
    backend = await backend2(lab, "b")
    edge = await lab.edge(to("b"))
    await backend.stop()
    assert (await clear.get(url(edge))).status_code == 503


async def test_a_stream_that_the_client_gives_up_leaves_the_others_alone(lab: Lab, clear: httpx.AsyncClient) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response(text="done")

    backend = await lab.backend("a", slow)
    edge = await lab.edge(to("a"))
    tasks = [asyncio.create_task(clear.get(url(edge, f"/{number}"))) for number in range(4)]
    await until(lambda: len(backend.seen) == 4)
    tasks[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks.pop(2)
    assert [(await task).text for task in tasks] == ["done"] * 3


async def test_a_reader_that_does_not_read_holds_up_only_its_own_stream(lab: Lab, clear: httpx.AsyncClient) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 50_000_000:
            await response.write(b"x" * 50_000)
            sent += 50_000
        return response

    await lab.backend("flood", flood)
    await lab.backend("a")
    edge = await lab.edge(under("/flood", "flood"), to("a"))
    async with clear.stream("GET", url(edge, "/flood")) as answer:
        assert answer.status_code == 200
        before = -1
        async with asyncio.timeout(10):
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
        assert sent < 40_000_000
        assert (await clear.get(url(edge))).status_code == 200
