"""What happens when backends fail, are slow, or leave: other endpoints, other tries, time-outs, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from lab import Backend, Lab, free_port, new_address, to, until, url

from pilothouse.dataplane.model import Edge, Endpoint, Host, Pool, Retry, Rule, Share, Site

Http = aiohttp.ClientSession


def nobody() -> Endpoint:
    address = new_address()
    return Endpoint(address, free_port(address))


class Flaky:
    """Answers with these statuses, one after the other, then with 200 and what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.times: list[float] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.times.append(asyncio.get_running_loop().time())
        body = await request.read()
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        return web.Response(body=body)


async def get(http: Http, edge: Edge, path: str = "/") -> int:
    async with http.get(url(edge, path)) as answer:
        await answer.read()
        return answer.status


async def test_endpoints_that_refuse_are_passed_over(lab: Lab, http: Http) -> None:
    backend = await lab.backend("a")
    await lab.engine.set_pool(Pool("a", (nobody(), backend.endpoint, nobody())))
    edge = await lab.edge(to("a"))
    assert [await get(http, edge) for _ in range(6)] == [200] * 6
    async with http.post(url(edge), data=b"content") as answer:
        assert (await answer.json())["body"] == "content"


async def test_endpoints_that_all_refuse_are_503(lab: Lab, http: Http) -> None:
    await lab.engine.set_pool(Pool("a", (nobody(), nobody())))
    assert await get(http, await lab.edge(to("a"))) == 503


async def test_codes_that_a_rule_names_are_tried_again(lab: Lab, http: Http) -> None:
    flaky = Flaky(503, 500)
    await lab.backend("a", flaky)
    edge = await lab.edge(to("a", retry=Retry(3, (500, 503))))
    async with http.post(url(edge), data=b"content") as answer:
        assert (answer.status, await answer.read()) == (200, b"content")
    assert len(flaky.times) == 3


async def test_other_codes_are_not_tried_again(lab: Lab, http: Http) -> None:
    flaky = Flaky(500)
    await lab.backend("a", flaky)
    assert await get(http, await lab.edge(to("a", retry=Retry(3, (503,))))) == 500
    assert len(flaky.times) == 1


async def test_tries_end_and_the_last_answer_is_passed_on(lab: Lab, http: Http) -> None:
    flaky = Flaky(503, 503, 503, 503)
    await lab.backend("a", flaky)
    assert await get(http, await lab.edge(to("a", retry=Retry(2, (503,))))) == 503
    assert len(flaky.times) == 3


async def test_tries_are_apart_by_the_backoff(lab: Lab, http: Http) -> None:
    flaky = Flaky(503)
    await lab.backend("a", flaky)
    assert await get(http, await lab.edge(to("a", retry=Retry(1, (503,), backoff=0.2)))) == 200
    assert flaky.times[1] - flaky.times[0] >= 0.19


async def test_another_try_prefers_another_endpoint(lab: Lab, http: Http) -> None:
    bad = await lab.backend("bad", Flaky(*[503] * 50))
    good = await lab.backend("good")
    await lab.engine.set_pool(Pool("both", (bad.endpoint, good.endpoint)))
    edge = await lab.edge(to("both", retry=Retry(1, (503,))))
    assert [await get(http, edge) for _ in range(8)] == [200] * 8


async def test_a_connection_that_breaks_before_the_answer_is_tried_again_where_a_rule_says_so(lab: Lab, http: Http) -> None:
    tries = 0

    async def break_once(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        if tries == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="fine")

    await lab.backend("a", break_once)
    assert await get(http, await lab.edge(to("a", retry=Retry(1)))) == 200
    assert tries == 2


async def test_without_a_rule_for_it_a_broken_post_is_502(lab: Lab, http: Http) -> None:
    tries = 0

    async def broken(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    await lab.backend("a", broken)
    edge = await lab.edge(to("a"))
    async with http.post(url(edge), data=b"once") as answer:
        assert answer.status == 502
    assert tries == 1


async def test_a_backend_that_closes_idle_connections_costs_no_request(lab: Lab, http: Http) -> None:
    backend = await lab.backend("a")
    edge = await lab.edge(to("a"))
    for _ in range(5):
        assert await get(http, edge) == 200
        await backend.stop()
        await backend.start(reuse_address=True)
        assert await get(http, edge) == 200


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query.get("s", "3")))
    return web.Response()


@pytest.mark.parametrize("limit", ["request_timeout", "backend_timeout"])
async def test_a_backend_that_is_too_slow_is_504(lab: Lab, http: Http, limit: str) -> None:
    await lab.backend("a", slow)
    limits: Any = {limit: 0.2}
    edge = await lab.edge(to("a", **limits))
    begin = asyncio.get_running_loop().time()
    assert await get(http, edge) == 504
    assert 0.15 < asyncio.get_running_loop().time() - begin < 2
    assert await get(http, edge, "/?s=0") == 200


async def test_a_try_that_is_too_slow_gives_way_to_another(lab: Lab, http: Http) -> None:
    stuck, quick = await lab.backend("stuck", slow), await lab.backend("quick")
    await lab.engine.set_pool(Pool("both", (stuck.endpoint, quick.endpoint)))
    edge = await lab.edge(to("both", backend_timeout=0.2, retry=Retry(2)))
    assert [await get(http, edge) for _ in range(4)] == [200] * 4


async def test_all_tries_together_stay_within_the_requests_time(lab: Lab, http: Http) -> None:
    await lab.backend("a", slow)
    edge = await lab.edge(to("a", request_timeout=0.5, backend_timeout=0.2, retry=Retry(50)))
    begin = asyncio.get_running_loop().time()
    assert await get(http, edge) == 504
    assert asyncio.get_running_loop().time() - begin < 2


async def test_an_endpoint_that_leaves_finishes_what_it_began(lab: Lab, http: Http) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun ")
        begun.set()
        await go_on.wait()
        await response.write(b"ended")
        return response

    leaving = await lab.backend("leaving", answer)
    staying = await lab.backend("staying")
    await lab.engine.set_pool(Pool("a", (leaving.endpoint,)))
    edge = await lab.edge(to("a"))
    async with http.get(url(edge)) as got:
        await begun.wait()
        await lab.engine.set_pool(Pool("a", (staying.endpoint,)))
        async with http.get(url(edge)) as other:
            assert other.headers["X-Backend"] == "staying"
        go_on.set()
        assert await got.text() == "begun ended"
    assert len(leaving.seen) == 1


async def test_an_endpoint_that_leaves_gets_no_request_from_then_on(lab: Lab, http: Http) -> None:
    one, two = await lab.backend("one"), await lab.backend("two")
    await lab.engine.set_pool(Pool("a", (one.endpoint, two.endpoint)))
    edge = await lab.edge(to("a"))
    for _ in range(4):
        await get(http, edge)
    await lab.engine.set_pool(Pool("a", (two.endpoint,)))
    count = len(one.seen)
    assert [await get(http, edge) for _ in range(6)] == [200] * 6
    assert len(one.seen) == count


async def test_affinity_holds_for_requests_too(lab: Lab, http: Http) -> None:
    backends = [await lab.backend(name) for name in "abc"]
    await lab.engine.set_pool(Pool("all", tuple(backend.endpoint for backend in backends), affinity_seconds=60))
    edge = await lab.edge(to("all"))
    assert [await get(http, edge) for _ in range(6)] == [200] * 6
    assert sorted(len(backend.seen) for backend in backends) == [0, 0, 6]


async def test_endpoints_come_and_go_under_load_without_a_failed_request(lab: Lab) -> None:
    """A rolling update: each backend leaves the pool, then stops; its successor starts, then joins."""
    running: list[Backend] = [await lab.backend(f"old-{number}") for number in range(3)]
    await lab.engine.set_pool(Pool("app", tuple(backend.endpoint for backend in running)))
    edge = await lab.edge(to("app"))
    statuses: Counter[int] = Counter()
    done = asyncio.Event()

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while not done.is_set():
                async with session.post(url(edge), data=b"content") as answer:
                    await answer.read()
                    statuses[answer.status] += 1

    clients = [asyncio.create_task(client()) for _ in range(8)]
    for number in range(6):
        await asyncio.sleep(0.1)
        running.append(await lab.backend(f"new-{number}"))
        leaving = running.pop(0)
        await lab.engine.set_pool(Pool("app", tuple(backend.endpoint for backend in running)))
        await asyncio.sleep(0.1)
        await leaving.stop()
    done.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert statuses[200] > 100


async def test_rules_change_under_load_without_a_failed_request(lab: Lab) -> None:
    await lab.backend("a")
    await lab.backend("b")
    edge = await lab.edge(to("a"))
    statuses: Counter[int] = Counter()
    done = asyncio.Event()

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while not done.is_set():
                statuses[await get(session, edge)] += 1

    clients = [asyncio.create_task(client()) for _ in range(8)]
    for number in range(20):
        await asyncio.sleep(0.03)
        rule = Rule(shares=(Share("ab"[number % 2]),))
        await lab.engine.set_front(replace(edge, sites=(Site(hosts=(Host(rules=(rule,)),)),)))
    done.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}


async def test_a_request_whose_body_is_still_coming_reaches_the_backend_that_is_there(lab: Lab, http: Http) -> None:
    backend = await lab.backend("a")
    await lab.engine.set_pool(Pool("a", (nobody(), backend.endpoint)))
    edge = await lab.edge(to("a"))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000
            await asyncio.sleep(0)

    for _ in range(4):
        async with http.post(url(edge), data=parts()) as answer:
            assert len((await answer.json())["body"]) == 500_000
    await until(lambda: len(backend.seen) == 4)
