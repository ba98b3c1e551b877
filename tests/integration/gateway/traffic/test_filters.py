"""What happens to requests and answers on the way: headers, redirects, rewrites, mirrors, CORS; and for how long they may take."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pilothouse.cloud.gateway.definitions import CRDS
from pilothouse.cloud.gateway.kinds import HTTP_ROUTES

from .city import HTTP_PORT, City, Obj, eventually, path, to

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANGE: Obj = {
    "set": [{"name": "X-Set", "value": "set"}],
    "add": [{"name": "X-Add", "value": "added"}],
    "remove": ["X-Remove"],
}


def filtered(type: str, member: str, how: Obj) -> Obj:
    return {"filters": [{"type": type, member: how}]}


async def test_headers_of_requests_are_changed(city: City) -> None:
    await city.backend("headers")
    address = await city.gateway("request-headers")
    how = filtered("RequestHeaderModifier", "requestHeaderModifier", CHANGE)
    await city.route("request-headers", "request-headers", to("headers", **how))
    sent = {"X-Set": "own", "X-Add": "own", "X-Remove": "own", "X-Other": "own"}
    got = (await city.ask(address, headers=sent)).told["headers"]
    assert got["x-set"] == "set" and got["x-other"] == "own" and "x-remove" not in got
    assert [v.strip() for v in got["x-add"].split(",")] == ["own", "added"]


async def test_headers_of_answers_are_changed(city: City) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers={"X-Set": "own", "X-Add": "own", "X-Remove": "own"})

    await city.backend("answers", answer)
    address = await city.gateway("response-headers")
    how = filtered("ResponseHeaderModifier", "responseHeaderModifier", CHANGE)
    await city.route("response-headers", "response-headers", to("answers", **how))
    got = (await city.ask(address)).headers
    assert got["X-Set"] == "set" and "X-Remove" not in got
    assert [v.strip() for value in got.getall("X-Add") for v in value.split(",")] == ["own", "added"]  # type: ignore[attr-defined]


async def test_a_backend_has_filters_of_its_own(city: City) -> None:
    await city.backend("own-filters")
    address = await city.gateway("own-filters")
    own = filtered("RequestHeaderModifier", "requestHeaderModifier", {"set": [{"name": "X-Own", "value": "backend"}]})
    ref = {"name": "own-filters", "port": 80, **own}
    all_of_it = filtered("RequestHeaderModifier", "requestHeaderModifier", {"set": [{"name": "X-Rule", "value": "rule"}]})
    await city.route("own-filters", "own-filters", {"backendRefs": [ref], **all_of_it})
    got = (await city.ask(address)).told["headers"]
    assert (got["x-own"], got["x-rule"]) == ("backend", "rule")


REDIRECTS: list[tuple[Obj, int, str]] = [
    ({}, 302, f"http://a.example.com:{HTTP_PORT}/r/x?y=z"),
    ({"hostname": "b.example.com"}, 302, f"http://b.example.com:{HTTP_PORT}/r/x?y=z"),
    ({"scheme": "https"}, 302, "https://a.example.com/r/x?y=z"),
    ({"scheme": "https", "port": 8443, "statusCode": 301}, 301, "https://a.example.com:8443/r/x?y=z"),
    ({"port": 9000}, 302, "http://a.example.com:9000/r/x?y=z"),
    ({"port": 80}, 302, "http://a.example.com/r/x?y=z"),
    ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/full"}}, 302, f"http://a.example.com:{HTTP_PORT}/full?y=z"),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}, 302, f"http://a.example.com:{HTTP_PORT}/new/x?y=z"),
    ({"statusCode": 303}, 303, f"http://a.example.com:{HTTP_PORT}/r/x?y=z"),
    ({"statusCode": 307}, 307, f"http://a.example.com:{HTTP_PORT}/r/x?y=z"),
    ({"statusCode": 308}, 308, f"http://a.example.com:{HTTP_PORT}/r/x?y=z"),
]


async def test_requests_are_sent_elsewhere(city: City) -> None:
    address = await city.gateway("redirects")
    rules = [
        {"matches": [path("/r", headers=[{"name": "n", "value": str(n)}])], **filtered("RequestRedirect", "requestRedirect", how)}
        for n, (how, _, _) in enumerate(REDIRECTS)
    ]
    await city.route("redirects", "redirects", *rules)
    for n, (how, status, location) in enumerate(REDIRECTS):
        answer = await city.ask(address, "/r/x?y=z", "a.example.com", headers={"n": str(n)})
        assert (answer.status, answer.headers["Location"]) == (status, location), how


async def test_hosts_and_paths_are_rewritten(city: City) -> None:
    await city.backend("rewrites")
    address = await city.gateway("rewrites")

    def rewriting(prefix: str, **how: Any) -> Obj:
        return to("rewrites", matches=[path(prefix)], **filtered("URLRewrite", "urlRewrite", how))

    def replacing(prefix: str, by: str) -> Obj:
        return rewriting(prefix, path={"type": "ReplacePrefixMatch", "replacePrefixMatch": by})

    await city.route(
        "rewrites",
        "rewrites",
        rewriting("/host", hostname="new.example.com"),
        rewriting("/full", path={"type": "ReplaceFullPath", "replaceFullPath": "/all/new"}),
        replacing("/one", "/two"),
        replacing("/slash", "/two/"),
        replacing("/gone", ""),
        replacing("/root", "/"),
    )
    for asked, expected in (
        ("/full/x?y=z", "/all/new?y=z"),
        ("/one/bar?y=z", "/two/bar?y=z"),
        ("/one", "/two"),
        ("/one/", "/two/"),
        ("/slash/bar", "/two/bar"),
        ("/gone/bar", "/bar"),
        ("/gone", "/"),
        ("/gone/", "/"),
        ("/root", "/"),
        ("/root/", "/"),
        ("/host/x", "/host/x"),
    ):
        assert (await city.ask(address, asked, "old.example.com")).told["path"] == expected, asked
    assert (await city.ask(address, "/host/x", "old.example.com")).told["headers"]["host"] == "new.example.com"


async def test_requests_are_mirrored(city: City) -> None:
    main = await city.backend("mirrored")
    one, two, half = [await city.backend(f"mirror-{n}") for n in ("one", "two", "half")]
    address = await city.gateway("mirrors")

    def mirror(name: str, **share: Any) -> Obj:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}, **share}}

    several = {"filters": [mirror("mirror-one"), mirror("mirror-two", percent=100)]}
    part = {"filters": [mirror("mirror-half", fraction={"numerator": 1, "denominator": 2})]}
    none = {"filters": [mirror("mirror-half", percent=0)]}
    await city.route(
        "mirrors",
        "mirrors",
        to("mirrored", matches=[path("/all")], **several),
        to("mirrored", matches=[path("/half")], **part),
        to("mirrored", matches=[path("/none")], **none),
    )
    answer = await city.ask(address, "/all?x=y", method="POST", data="copied")
    assert (answer.pod, answer.told["body"]) == ("mirrored", "copied")

    async def copied() -> bool:
        return bool(one.seen and two.seen and one.seen[0]["body"] and two.seen[0]["body"])

    await eventually(copied)
    assert [(pod.seen[0]["method"], pod.seen[0]["path"], pod.seen[0]["body"]) for pod in (one, two)] == [
        ("POST", "/all?x=y", "copied")
    ] * 2
    for _ in range(20):
        await city.ask(address, "/none")
    assert await city.pods_of(address, 100, "/half") == {"mirrored": 100}

    async def some() -> bool:
        return len(half.seen) >= 20

    await eventually(some)
    assert 20 <= len(half.seen) <= 80 and {s["path"] for s in half.seen} == {"/half"}
    assert len(main.seen) == 121


CORS: Obj = {
    "allowOrigins": ["https://*.example.com", "http://exact.org:8080"],
    "allowMethods": ["GET", "PUT"],
    "allowHeaders": ["X-One", "X-Two"],
    "exposeHeaders": ["X-Told"],
    "allowCredentials": True,
    "maxAge": 60,
}


async def test_other_origins_are_let_in_as_the_filter_says(city: City) -> None:
    await city.backend("cors")
    address = await city.gateway("cors")
    await city.route("cors", "cors", to("cors", **filtered("CORS", "cors", CORS)))

    async def preflight(origin: str, method: str = "PUT") -> Any:
        return await city.ask(
            address,
            method="OPTIONS",
            headers={"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-one"},
        )

    allowed = await preflight("https://a.example.com")
    assert allowed.status in (200, 204) and not allowed.pod, "it is answered here"
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://a.example.com"
    assert {m.strip() for m in allowed.headers["Access-Control-Allow-Methods"].split(",")} == {"GET", "PUT"}
    assert {h.strip().lower() for h in allowed.headers["Access-Control-Allow-Headers"].split(",")} == {"x-one", "x-two"}
    assert allowed.headers["Access-Control-Allow-Credentials"] == "true" and allowed.headers["Access-Control-Max-Age"] == "60"
    for origin in ("https://example.org", "http://a.example.com", "https://example.com", "http://exact.org"):
        assert "Access-Control-Allow-Origin" not in (await preflight(origin)).headers, origin
    plain = await city.ask(address, headers={"Origin": "http://exact.org:8080"})
    assert plain.pod == "cors" and plain.headers["Access-Control-Allow-Origin"] == "http://exact.org:8080"
    assert plain.headers["Access-Control-Expose-Headers"].lower() == "x-told"
    assert "Access-Control-Allow-Origin" not in (await city.ask(address)).headers


async def test_requests_that_take_too_long_end(city: City) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["for"]))
        return web.Response(text="late")

    await city.backend("slow", slow)
    address = await city.gateway("timeouts")
    await city.route(
        "timeouts",
        "timeouts",
        to("slow", matches=[path("/request")], timeouts={"request": "300ms"}),
        to("slow", matches=[path("/backend")], timeouts={"backendRequest": "300ms"}),
        to("slow", matches=[path("/never")], timeouts={"request": "0s"}),
    )
    for which in ("/request", "/backend"):
        assert (await city.ask(address, f"{which}?for=0")).status == 200
        assert (await city.ask(address, f"{which}?for=5")).status == 504, which
    assert (await city.ask(address, "/never?for=0.5")).status == 200


async def test_websockets_pass(city: City) -> None:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"heard {message.data}")
        return socket

    await city.backend("sockets", talk, app="kubernetes.io/ws")
    address = await city.gateway("sockets")
    await city.route("sockets", "sockets", to("sockets"))
    async with city.http.ws_connect(f"http://{address}:{HTTP_PORT}/chat") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "heard hello"


async def test_big_bodies_pass_in_both_directions(city: City) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for chunk in request.content.iter_chunked(65536):
            await answer.write(chunk)
        return answer

    await city.backend("big", echo)
    address = await city.gateway("big")
    await city.route("big", "big", to("big"))
    body = bytes(range(256)) * 8192
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}:{HTTP_PORT}/", data=io.BytesIO(body)) as answer,
    ):
        assert await answer.read() == body


async def test_requests_are_tried_again_where_the_experimental_definitions_are_installed(city: City) -> None:
    async def recovering(request: web.Request) -> web.Response:
        return web.Response(status=503 if len(pod.seen) % 3 else 200)

    pod = await city.backend("recovering", recovering)
    found = await city.get(CRDS, f"{HTTP_ROUTES.plural}.{HTTP_ROUTES.group}", "")
    for version in found["spec"]["versions"]:
        rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rules"]
        rules["items"]["properties"]["retry"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await city.change(CRDS, found["metadata"]["name"], {"spec": found["spec"]}, "")
    address = await city.gateway("retries")
    retrying = {"retry": {"attempts": 2, "codes": [503], "backoff": "10ms"}}

    async def is_kept() -> bool:
        await city.admin.request("DELETE", HTTP_ROUTES.path("default", "retries"))
        await city.route("retries", "retries", to("recovering", **retrying))
        return "retry" in (await city.get(HTTP_ROUTES, "retries"))["spec"]["rules"][0]

    await eventually(is_kept)
    assert (await city.ask(address)).status == 200 and len(pod.seen) == 3
    await city.change(HTTP_ROUTES, "retries", {"spec": {"rules": [to("recovering", retry={"attempts": 1, "codes": [503]})]}})
    await city.decided(HTTP_ROUTES, "retries")
    assert (await city.ask(address)).status == 503 and len(pod.seen) == 5
