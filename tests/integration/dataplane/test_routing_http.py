"""Which backend a request reaches: hosts, matches, weights, over plain HTTP/1.1 by aiohttp."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from lab import Lab, to, under, until, url

from pilothouse.dataplane.model import Edge, Host, Match, Pool, Rule, Share, Site, Text

Http = aiohttp.ClientSession


async def reached(http: Http, edge: Edge, path: str = "/", host: str = "", method: str = "GET", **headers: str) -> str:
    """The backend that answers, or the status if none does."""
    headers |= {"Host": host} if host else {}
    async with http.request(method, url(edge, path), headers=headers) as answer:
        if "X-Backend" in answer.headers:
            return answer.headers["X-Backend"]
        return str(answer.status)


@pytest.fixture
async def three(lab: Lab) -> None:
    for name in "abc":
        await lab.backend(name)


async def test_a_request_reaches_the_backend_and_its_answer_comes_back(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(to("a"))
    async with http.post(url(edge, "/some/path?with=query"), data=b"content", headers={"X-Mine": "1"}) as answer:
        assert answer.status == 200
        seen = await answer.json()
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/some/path?with=query", "content")
    assert seen["headers"]["x-mine"] == "1"


@pytest.mark.usefixtures("three")
async def test_an_exact_path_matches_itself_alone(lab: Lab, http: Http) -> None:
    edge = await lab.edge(to("a", match=Match("/one", "Exact")))
    paths = ["/one", "/one/", "/one/more", "/on", "/One", "/one?query"]
    assert [await reached(http, edge, path) for path in paths] == ["a", "404", "404", "404", "404", "a"]


@pytest.mark.usefixtures("three")
async def test_a_prefix_matches_whole_path_elements(lab: Lab, http: Http) -> None:
    edge = await lab.edge(under("/one", "a"), under("/two/", "b"))
    paths = ["/one", "/one/", "/one/more", "/onemore", "/two", "/two/x", "/three"]
    assert [await reached(http, edge, path) for path in paths] == ["a", "a", "a", "404", "b", "b", "404"]


@pytest.mark.usefixtures("three")
async def test_a_regular_expression_matches_the_whole_path(lab: Lab, http: Http) -> None:
    edge = await lab.edge(to("a", match=Match("/item/[0-9]+(/.*)?", "RegularExpression")))
    paths = ["/item/12", "/item/12/x", "/item/x", "/an/item/12", "/item/12x"]
    assert [await reached(http, edge, path) for path in paths] == ["a", "a", "404", "404", "404"]


@pytest.mark.usefixtures("three")
async def test_the_first_rule_that_matches_takes_the_request(lab: Lab, http: Http) -> None:
    edge = await lab.edge(under("/one/two", "a"), under("/one", "b"), under("/", "c"))
    assert [await reached(http, edge, path) for path in ["/one/two", "/one", "/"]] == ["a", "b", "c"]


@pytest.mark.usefixtures("three")
async def test_headers_decide_by_value_or_expression_without_regard_to_the_names_case(lab: Lab, http: Http) -> None:
    edge = await lab.edge(
        to("a", match=Match(headers=(Text("X-Version", "two"), Text("X-Kind", "t.*t", regex=True)))),
        to("b", match=Match(headers=(Text("x-version", "two"),))),
    )
    assert await reached(http, edge, **{"x-version": "two", "X-KIND": "test"}) == "a"
    assert await reached(http, edge, **{"X-Version": "two", "X-Kind": "tests"}) == "b"
    assert await reached(http, edge, **{"X-Version": "Two"}) == "404"


@pytest.mark.usefixtures("three")
async def test_query_parameters_decide(lab: Lab, http: Http) -> None:
    edge = await lab.edge(
        to("a", match=Match(query=(Text("animal", "whale"), Text("size", "[0-9]+", regex=True)))),
        to("b", match=Match(query=(Text("animal", "whale"),))),
    )
    paths = ["/?animal=whale&size=9", "/?size=x&animal=whale", "/?animal=dolphin", "/?Animal=whale", "/"]
    assert [await reached(http, edge, path) for path in paths] == ["a", "b", "404", "404", "404"]


@pytest.mark.usefixtures("three")
async def test_methods_decide(lab: Lab, http: Http) -> None:
    edge = await lab.edge(to("a", match=Match(method="POST")), to("b", match=Match(method="GET")))
    assert [await reached(http, edge, method=method) for method in ["POST", "GET", "PUT"]] == ["a", "b", "404"]


@pytest.mark.usefixtures("three")
async def test_the_most_specific_host_is_asked_and_it_alone(lab: Lab, http: Http) -> None:
    hosts = (
        Host("", (under("/", "c"),)),
        Host("*.example.com", (under("/", "b"),)),
        Host("www.example.com", (under("/only", "a"),)),
    )
    edge = await lab.edge(sites=(Site(hosts=hosts),))
    names = ["www.example.com", "api.example.com", "deep.api.example.com", "example.com", "other.org", "WWW.Example.com:8080"]
    assert [await reached(http, edge, "/only", name) for name in names] == ["a", "b", "b", "c", "c", "a"]
    assert await reached(http, edge, "/", "www.example.com") == "404"


@pytest.mark.usefixtures("three")
async def test_names_that_are_given_twice_count_together_and_sites_once(lab: Lab, http: Http) -> None:
    first = Site("one.example", (Host("one.example", (under("/a", "a"),)), Host("One.Example", (under("/b", "b"),))))
    edge = await lab.edge(
        sites=(first, Site("one.example", (Host("one.example", (to("c"),)),)), Site("*", (Host("*", (to("c"),)),)))
    )
    found = []
    for path, host in (("/a", "one.example"), ("/b", "ONE.example."), ("/c", "one.example"), ("/c", "two.example")):
        async with http.get(url(edge, path), headers={"Host": host}) as answer:
            found.append(answer.headers.get("X-Backend", str(answer.status)))
    assert found == ["a", "b", "404", "c"]


@pytest.mark.usefixtures("three")
async def test_the_most_specific_site_takes_the_request(lab: Lab, http: Http) -> None:
    sites = (
        Site("*.example.com", (Host("*.example.com", (to("a"),)),)),
        Site("www.example.com", (Host("www.example.com", (under("/b", "b"),)),)),
    )
    edge = await lab.edge(sites=sites)
    assert await reached(http, edge, "/", "api.example.com") == "a"
    assert await reached(http, edge, "/b", "www.example.com") == "b"
    assert await reached(http, edge, "/", "www.example.com") == "404"
    assert await reached(http, edge, "/", "other.org") == "404"


@pytest.mark.usefixtures("three")
async def test_weights_divide_the_requests(lab: Lab, http: Http) -> None:
    edge = await lab.edge(Rule(shares=(Share("a", 7), Share("b", 2), Share("c", 0), Share("", 1))))
    counted = Counter([await reached(http, edge) for _ in range(200)])
    assert set(counted) == {"a", "b", "500"}
    assert 115 <= counted["a"] <= 165
    assert 20 <= counted["b"] <= 60


async def test_requests_go_to_the_endpoints_in_turn(lab: Lab, http: Http) -> None:
    backends = [await lab.backend(name) for name in "abc"]
    await lab.engine.set_pool(Pool("all", tuple(backend.endpoint for backend in backends)))
    edge = await lab.edge(to("all"))
    assert Counter([await reached(http, edge) for _ in range(9)]) == {"a": 3, "b": 3, "c": 3}


async def test_a_pool_without_endpoints_is_503_and_one_that_cannot_be_500(lab: Lab, http: Http) -> None:
    await lab.engine.set_pool(Pool("empty"))
    edge = await lab.edge(
        under("/empty", "empty"), under("/never", "never-told"), under("/wrong", ""), Rule(Match("/none")), Rule(Match("/zero"), (Share("empty", 0),))
    )  # fmt: skip
    paths = ["/empty", "/never", "/wrong", "/none", "/zero"]
    assert [await reached(http, edge, path) for path in paths] == ["503", "503", "500", "500", "500"]


@pytest.mark.usefixtures("three")
async def test_rules_told_anew_count_for_connections_that_are_open(lab: Lab, http: Http) -> None:
    edge = await lab.edge(to("a"))
    assert await reached(http, edge) == "a"
    await lab.engine.set_front(replace(edge, sites=(Site(hosts=(Host(rules=(to("b"),)),)),)))
    assert await reached(http, edge) == "b"


async def test_what_an_edge_answered_is_counted(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(under("/a", "a"))
    for path in ["/a", "/a", "/b"]:
        await reached(http, edge, path)

    def counted() -> tuple[int, ...]:
        found: Any = lab.engine.counters()["edge"]
        return found.requests, found.codes["2xx"], found.codes["4xx"]

    await until(lambda: counted() == (3, 2, 1))
