"""What outlives a change of fronts and pools, and that what users write is carried as they wrote it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import httpx
import pytest
from aiohttp import web
from authority import Authority
from lab import Lab, new_address, to, url

from pilothouse.dataplane.model import (
    Edge,
    Filters,
    Forward,
    Headers,
    Host,
    Match,
    PathChange,
    Pool,
    Redirect,
    Retry,
    Rewrite,
    Rule,
    Site,
    Text,
)

Http = aiohttp.ClientSession
#: Everything that means something to some configuration language.
ODD = """it's "50%" \\ %[src] %{+Q}o $HOME ${HOME} #{} `id` <&|;> \\x41 %0A"""


async def greeting(front: Forward, client: str) -> str:
    reader, writer = await asyncio.open_connection(front.address, front.port, local_addr=(client, 0))
    name = (await reader.readline()).decode().strip()
    writer.close()
    return name


async def other_front(lab: Lab, name: str) -> None:
    await lab.edge(Rule(), name=name)


async def test_affinity_outlives_changes_of_fronts_and_of_other_endpoints(lab: Lab) -> None:
    backends = [await lab.tcp_backend(name) for name in "abc"]
    endpoints = tuple(backend.endpoint for backend in backends)
    front = await lab.forward(*endpoints, affinity=60)
    clients = [new_address() for _ in range(6)]
    first = [await greeting(front, client) for client in clients]
    for number in range(3):
        await other_front(lab, f"other-{number}")
    joined = await lab.tcp_backend("d")
    await lab.engine.set_pool(Pool("forwarded", (*endpoints, joined.endpoint), affinity_seconds=60))
    assert [await greeting(front, client) for client in clients] == first


async def test_a_websocket_outlives_changes_of_its_front(lab: Lab, http: Http) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    await lab.backend("a", echo)
    await lab.backend("b")
    edge = await lab.edge(to("a"))
    async with http.ws_connect(url(edge)) as socket:
        for number in range(3):
            await lab.engine.set_front(replace(edge, sites=(Site(hosts=(Host(rules=(to("b"),)),)),)))
            await other_front(lab, f"other-{number}")
            await socket.send_str(f"hello {number}")
            assert await socket.receive_str() == f"{number} olleh"
        await lab.engine.drop_front(edge.name)
        await socket.send_str("still here")
        assert await socket.receive_str() == "ereh llits"


async def test_an_answer_that_is_under_way_outlives_its_front(lab: Lab, http: Http) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"begun ")
        await go_on.wait()
        await answer.write(b"ended")
        return answer

    await lab.backend("a", slow)
    edge = await lab.edge(to("a"))
    async with http.get(url(edge)) as answer:
        await lab.engine.drop_front(edge.name)
        go_on.set()
        assert await answer.text() == "begun ended"


async def test_a_connection_over_tls_follows_new_rules_of_its_site(lab: Lab) -> None:
    authority = Authority()
    for name in "abc":
        await lab.backend(name)

    def sites(backend: str) -> tuple[Site, ...]:
        shown = authority.certificate("localhost")
        return (Site("localhost", (Host("localhost", (to(backend),)),), (shown,)), Site("", (Host("", (to("c"),)),), (shown,)))

    edge = await lab.edge(tls=True, sites=sites("a"))
    for http2 in (False, True):
        async with httpx.AsyncClient(verify=authority.context(), http2=http2, timeout=10) as client:
            for backend in ("a", "b", "a"):
                await lab.engine.set_front(replace(edge, sites=sites(backend)))
                request = {"headers": {"Host": "localhost"}, "extensions": {"sni_hostname": "localhost"}}
                answer = await client.get(url(edge), **request)  # type: ignore[arg-type]
                assert (answer.status_code, answer.headers["x-backend"]) == (200, backend)


async def test_headers_are_carried_as_users_wrote_them(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    both = Headers(set=(("X-Odd", ODD),), add=(("X-More", ODD),))
    edge = await lab.edge(to("a", filters=Filters(request=both, response=both)))
    async with http.get(url(edge)) as answer:
        asked = (await answer.json())["headers"]
        assert (asked["x-odd"], asked["x-more"]) == (ODD, ODD)
        assert (answer.headers["X-Odd"], answer.headers["X-More"]) == (ODD, ODD)


async def test_matches_are_compared_as_users_wrote_them(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(
        to("a", match=Match(headers=(Text("X-Odd", ODD),))),
        to("a", match=Match("/parameter", query=(Text("a,b)'\"", ODD),))),
        to("a", match=Match("/it's,%22(a)", "Exact")),
    )
    async with http.get(url(edge), headers={"X-Odd": ODD}) as answer:
        assert answer.status == 200
    async with http.get(url(edge), headers={"X-Odd": ODD + " "}) as answer:
        assert answer.status in (200, 404)  # space around a value is none of it
    async with http.get(url(edge), headers={"X-Odd": ODD + "x"}) as answer:
        assert answer.status == 404
    async with httpx.AsyncClient(timeout=10) as client:
        assert (await client.get(url(edge, "/parameter"), params={"a,b)'\"": ODD})).status_code == 200
        assert (await client.get(url(edge, "/parameter"), params={"a,b)'\"": ODD[1:]})).status_code == 404
    reader, writer = await asyncio.open_connection(edge.address, edge.port)
    writer.write(b"GET /it's,%22(a) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()


async def test_paths_are_written_as_users_wrote_them(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    odd = "/it's-%25-$HOME-%[src]-\\1"
    edge = await lab.edge(
        to("a", match=Match("/full"), filters=Filters(rewrite=Rewrite(path=PathChange("full", odd)))),
        to("a", match=Match("/prefix"), filters=Filters(rewrite=Rewrite(path=PathChange("prefix", odd)))),
        Rule(Match("/away"), filters=Filters(redirect=Redirect(hostname="x.example", path=PathChange("prefix", odd)))),
    )
    async with http.get(url(edge, "/full/x?q=1")) as answer:
        assert (await answer.json())["path"] == f"{odd}?q=1"
    async with http.get(url(edge, "/prefix/x?q=1")) as answer:
        assert (await answer.json())["path"] == f"{odd}/x?q=1"
    async with http.get(url(edge, "/away/x?q=1"), allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"http://x.example:{edge.port}{odd}/x?q=1"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b"])
async def test_a_header_that_would_be_two_is_refused(lab: Lab, value: str) -> None:
    await lab.backend("a")
    with pytest.raises(ValueError):
        await lab.edge(to("a", filters=Filters(request=Headers(set=(("X-Odd", value),)))))


@pytest.mark.parametrize("backoff", [0.0, 0.05])
async def test_codes_of_all_kinds_are_tried_again_and_the_last_is_passed_on(lab: Lab, http: Http, backoff: float) -> None:
    asked: list[str] = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(request.headers.get("X-Pilothouse-Try", ""))
        return web.Response(status=429 if request.path == "/always" or len(asked) < 3 else 200, headers={"Retry-After": "1"})

    await lab.backend("a", busy)
    edge = await lab.edge(to("a", retry=Retry(2, (429, 500), backoff)))
    for path, status in (("/", 200), ("/always", 429)):
        asked.clear()
        async with http.get(url(edge, path)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (status, "1")
        assert asked == ["", "", ""]


async def test_telling_all_at_once_is_as_good_as_one_after_the_other(lab: Lab, http: Http) -> None:
    backends = [await lab.backend(f"b{number}") for number in range(12)]
    edges: list[Edge] = await asyncio.gather(*(lab.edge(to(f"b{number}"), name=f"e{number}") for number in range(12)))

    async def told(edge: Edge) -> str:
        async with http.get(url(edge)) as answer:
            return answer.headers.get("X-Backend", str(answer.status))

    assert [await told(edge) for edge in edges] == [backend.name for backend in backends]
    changes = [
        *(lab.engine.set_pool(Pool(f"b{number}", (backends[number - 1].endpoint,))) for number in range(6)),
        *(
            lab.engine.set_front(replace(edges[number], sites=(Site(hosts=(Host(rules=(to("b0"),)),)),)))
            for number in range(6, 9)
        ),
        *(lab.engine.drop_front(f"e{number}") for number in range(9, 12)),
    ]
    await asyncio.gather(*changes)
    assert [await told(edge) for edge in edges[:9]] == ["b11", "b0", "b1", "b2", "b3", "b4", "b11", "b11", "b11"]
    for edge in edges[9:]:
        with pytest.raises(OSError):
            await asyncio.open_connection(edge.address, edge.port)
