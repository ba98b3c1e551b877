"""What filters do to requests and answers, seen by backends and clients."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from lab import Lab, to, until, url

from pilothouse.dataplane.model import Cors, Edge, Filters, Headers, Match, Mirror, PathChange, Redirect, Rewrite, Rule, Share

Http = aiohttp.ClientSession


async def seen_by_backend(http: Http, edge: Edge, path: str = "/", **headers: str) -> dict[str, Any]:
    async with http.get(url(edge, path), headers=headers) as answer:
        assert answer.status == 200
        return await answer.json()


async def redirected(http: Http, edge: Edge, path: str, host: str) -> tuple[int, str]:
    async with http.get(url(edge, path), headers={"Host": host}, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "")


def rule(path: str = "/", **filters: Any) -> Rule:
    return to("a", match=Match(path), filters=Filters(**filters))


async def test_request_headers_are_set_added_and_removed(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    changes = Headers(set=(("X-Set", "new"), ("X-Fresh", "1")), add=(("X-Add", "second"),), remove=("X-Gone",))
    edge = await lab.edge(rule(request=changes))
    headers = (await seen_by_backend(http, edge, **{"x-set": "old", "x-add": "first", "x-gone": "1", "x-kept": "1"}))["headers"]
    assert headers["x-set"] == "new"
    assert headers["x-fresh"] == "1"
    assert headers["x-add"].replace(" ", "") == "first,second"
    assert "x-gone" not in headers
    assert headers["x-kept"] == "1"


async def test_answer_headers_are_set_added_and_removed(lab: Lab, http: Http) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers={"X-Set": "old", "X-Gone": "1", "X-Kept": "1"})

    await lab.backend("a", answer)
    changes = Headers(set=(("X-Set", "new"),), add=(("X-Add", "1"),), remove=("x-gone",))
    edge = await lab.edge(rule(response=changes))
    async with http.get(url(edge)) as got:
        assert (got.headers["X-Set"], got.headers["X-Add"], got.headers["X-Kept"]) == ("new", "1", "1")
        assert "X-Gone" not in got.headers


async def test_a_share_has_filters_of_its_own(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    mine = Filters(request=Headers(set=(("X-Share", "1"),)), response=Headers(set=(("X-Back", "1"),)))
    edge = await lab.edge(Rule(shares=(Share("a", filters=mine),), filters=Filters(request=Headers(set=(("X-Rule", "1"),)))))
    async with http.get(url(edge)) as got:
        headers = (await got.json())["headers"]
        assert (headers["x-rule"], headers["x-share"], got.headers["X-Back"]) == ("1", "1", "1")


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (Redirect(hostname="new.org"), (302, "http://new.org:8080/one/two?q=1")),
        (Redirect(scheme="https", status=301), (301, "https://old.org/one/two?q=1")),
        (Redirect(scheme="https", port=8443), (302, "https://old.org:8443/one/two?q=1")),
        (Redirect(port=80), (302, "http://old.org/one/two?q=1")),
        (Redirect(status=308, path=PathChange("full", "/elsewhere")), (308, "http://old.org:8080/elsewhere?q=1")),
        (Redirect(status=307, path=PathChange("prefix", "/other")), (307, "http://old.org:8080/other/two?q=1")),
        (Redirect(status=303, path=PathChange("prefix", "/")), (303, "http://old.org:8080/two?q=1")),
    ],
)
async def test_a_redirect_keeps_what_it_does_not_change(
    lab: Lab, http: Http, redirect: Redirect, expected: tuple[int, str]
) -> None:
    edge = await lab.edge(Rule(Match("/one"), filters=Filters(redirect=redirect)))
    assert await redirected(http, edge, "/one/two?q=1", "old.org:8080") == expected


@pytest.mark.parametrize(
    ("prefix", "value", "path", "expected"),
    [
        ("/foo", "/xyz", "/foo/bar?q=1", "/xyz/bar?q=1"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo", "/"),
        ("/foo", "", "/foo/", "/"),
        ("/", "/xyz", "/bar", "/xyz/bar"),
    ],
)
async def test_a_prefix_is_rewritten(lab: Lab, http: Http, prefix: str, value: str, path: str, expected: str) -> None:
    await lab.backend("a")
    edge = await lab.edge(rule(prefix, rewrite=Rewrite(path=PathChange("prefix", value))))
    assert (await seen_by_backend(http, edge, path))["path"] == expected


async def test_a_whole_path_and_the_host_are_rewritten(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(rule(rewrite=Rewrite(hostname="inside.example", path=PathChange("full", "/fixed"))))
    seen = await seen_by_backend(http, edge, "/any/thing?q=1", Host="outside.example")
    assert (seen["path"], seen["headers"]["host"]) == ("/fixed?q=1", "inside.example")
    assert seen["headers"]["x-forwarded-host"] == "outside.example"


async def test_a_mirror_gets_a_copy_and_the_client_does_not_notice(lab: Lab, http: Http) -> None:
    await lab.backend("a")

    async def broken(request: web.Request) -> web.Response:
        copies.append(await request.read())
        return web.Response(status=500, text="nobody hears this")

    copies: list[bytes] = []
    await lab.backend("copy", broken)
    edge = await lab.edge(rule(mirrors=(Mirror("copy"), Mirror("never-told"))))
    async with http.post(url(edge, "/path"), data=b"content") as answer:
        assert (answer.status, (await answer.json())["backend"]) == (200, "a")
    await until(lambda: copies == [b"content"])
    assert lab.engine.counters()["edge"].codes["5xx"] == 0


@pytest.mark.parametrize("method", ["GET", "PATCH", "OPTIONS", "DELETE", "PURGE"])
async def test_a_copy_is_like_the_request(lab: Lab, http: Http, method: str) -> None:
    one, copy = await lab.backend("a"), await lab.backend("copy")
    edge = await lab.edge(rule(request=Headers(set=(("X-Set", "1"),)), mirrors=(Mirror("copy"),)))
    data = None if method == "GET" else b"content"
    async with http.request(method, url(edge, "/path?q=1"), data=data, headers={"Host": "one.example", "X-Kept": "1"}) as answer:
        assert answer.status == 200
    await until(lambda: len(copy.seen) == 1 and "body" in copy.seen[0])
    (seen,), (copied,) = one.seen, copy.seen
    for what in ("method", "path", "body"):
        assert copied[what] == seen[what]
    for name in ("host", "x-kept", "x-set", "x-forwarded-for", "x-forwarded-host"):
        assert copied["headers"][name] == seen["headers"][name]


async def test_a_mirror_gets_its_share_of_the_requests(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    copy, none = await lab.backend("copy"), await lab.backend("none")
    edge = await lab.edge(rule(mirrors=(Mirror("copy", 1, 4), Mirror("none", 0))))
    for _ in range(100):
        await seen_by_backend(http, edge)
    await until(lambda: len(copy.seen) >= 8)
    assert len(copy.seen) <= 50
    assert none.seen == []


CORS = Cors(
    origins=("https://www.example.com", "https://*.wild.org"),
    methods=("GET", "PUT"),
    headers=("X-Mine", "X-Other"),
    expose=("X-Backend",),
    credentials=True,
    max_age=600,
)


async def preflight(http: Http, edge: Edge, origin: str, method: str = "PUT", headers: str = "x-mine") -> dict[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    async with http.options(url(edge), headers=asked) as answer:
        assert answer.status in (200, 204)
        assert "X-Backend" not in answer.headers
        return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access-control")}


async def test_a_preflight_is_answered_for_the_backend(lab: Lab, http: Http) -> None:
    backend = await lab.backend("a")
    edge = await lab.edge(rule(cors=CORS))
    assert await preflight(http, edge, "https://www.example.com") == {
        "access-control-allow-origin": "https://www.example.com",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "X-Mine, X-Other",
        "access-control-max-age": "600",
    }
    assert backend.seen == []


async def test_origins_match_whole_or_by_their_first_part(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(rule(cors=CORS))
    allowed = ["https://www.example.com", "https://a.wild.org", "https://a.b.wild.org"]
    refused = ["http://www.example.com", "https://example.com", "https://wild.org", "https://evil.com", "https://a.wild.org:8443"]
    for origin in allowed:
        assert (await preflight(http, edge, origin))["access-control-allow-origin"] == origin
    for origin in refused:
        assert "access-control-allow-origin" not in await preflight(http, edge, origin)


async def test_a_plain_answer_says_who_may_read_it(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(rule(cors=CORS))
    async with http.get(url(edge), headers={"Origin": "https://a.wild.org"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.wild.org"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Expose-Headers"] == "X-Backend"
    async with http.get(url(edge), headers={"Origin": "https://evil.com"}) as answer:
        assert answer.status == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_wildcards_stand_for_what_was_asked_where_credentials_are_sent(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    every: dict[str, Any] = {"origins": ("*",), "methods": ("*",), "headers": ("*",)}
    edge = await lab.edge(rule("/with", cors=Cors(**every, credentials=True)), rule("/", cors=Cors(**every)))
    asked = {"Origin": "https://x.org", "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-a,x-b"}
    async with http.options(url(edge, "/with"), headers=asked) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://x.org"
        assert answer.headers["Access-Control-Allow-Methods"] == "PATCH"
        assert answer.headers["Access-Control-Allow-Headers"] == "x-a,x-b"
    async with http.options(url(edge, "/"), headers=asked) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://x.org")
        assert answer.headers["Access-Control-Allow-Methods"] in ("*", "PATCH")
        assert answer.headers["Access-Control-Allow-Headers"] in ("*", "x-a,x-b")


async def test_backends_learn_where_a_request_came_from(lab: Lab, http: Http) -> None:
    await lab.backend("a")
    edge = await lab.edge(rule())
    headers = (await seen_by_backend(http, edge, **{"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}))["headers"]
    assert headers["x-forwarded-for"].replace(" ", "") == "198.51.100.7,127.0.0.1"
    assert headers["x-forwarded-proto"] == "http", "a client's word on that is not taken"
    assert headers["x-forwarded-host"] == f"{edge.address}:{edge.port}"
