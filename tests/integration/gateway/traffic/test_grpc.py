"""GRPCRoutes, with servers and clients of grpcio, in the clear and over TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from pilothouse.client.loopback import twin
from pilothouse.cloud.gateway.kinds import GRPC_ROUTES

from .certificates import Authority
from .city import HTTP_PORT, HTTPS_PORT, City, Obj, eventually, https, to

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORITY = Authority()


class Server(grpc.GenericRpcHandler):
    """Answers every method with its name, the method and the request; its metadata are kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[dict[str, str]] = []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = call.method

        async def unary(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.seen.append({str(k): str(v) for k, v in context.invocation_metadata() or ()})
            await context.send_initial_metadata((("x-remove", "own"),))
            context.set_trailing_metadata((("x-end", "trailer"),))
            if request == b"fail":
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, "told so")
            return f"{self.name} {method} ".encode() + request

        async def stream(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            async for request in requests:
                yield f"{self.name} ".encode() + request

        if method.endswith("/Stream"):
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(city: City) -> AsyncIterator[dict[str, Server]]:
    """Services `grpc-a`, `grpc-b` and `grpc-c`, one server behind each."""
    async with contextlib.AsyncExitStack() as undo:
        made = {}
        for name in ("grpc-a", "grpc-b", "grpc-c"):
            made[name] = Server(name)
            ip = city.new_ip()
            server = grpc.aio.server(handlers=(made[name],))
            server.add_insecure_port(f"{twin(ip)}:5000")
            await server.start()
            undo.push_async_callback(server.stop, None)
            await city.service(name, ip, 5000)
        yield made


def channel(address: str, host: str = "", secure: bool = False) -> grpc.aio.Channel:
    options = [("grpc.default_authority", host)] if host else []
    options += [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    if secure:
        credentials = grpc.ssl_channel_credentials(AUTHORITY.chain.encode())
        return grpc.aio.secure_channel(f"{address}:{HTTPS_PORT}", credentials, options)
    return grpc.aio.insecure_channel(f"{address}:{HTTP_PORT}", options)


async def call(address: str, method: str, host: str = "", secure: bool = False, **metadata: str) -> str:
    async with channel(address, host, secure) as to_gateway:
        answer = await to_gateway.unary_unary(method)(b"hello", metadata=tuple(metadata.items()), timeout=10)
        return bytes(answer).decode()


def matching(service: str = "", method: str = "", **more: Any) -> Obj:
    named = {**({"service": service} if service else {}), **({"method": method} if method else {})}
    return {"matches": [{**({"method": named} if named else {}), **more}]}


async def test_calls_go_by_service_method_and_header(city: City, servers: dict[str, Server]) -> None:
    address = await city.gateway("calls")
    await city.route(
        "calls",
        "calls",
        to("grpc-a", **matching("shop.Cart")),
        to("grpc-b", **matching("shop.Cart", "Add")),
        to("grpc-c", **matching("shop.Cart", headers=[{"name": "version", "value": "2"}])),
        to("grpc-c", **matching(method="Ping")),
        kind=GRPC_ROUTES,
    )
    assert await call(address, "/shop.Cart/List") == "grpc-a /shop.Cart/List hello"
    assert await call(address, "/shop.Cart/Add") == "grpc-b /shop.Cart/Add hello"
    assert await call(address, "/shop.Cart/List", version="2") == "grpc-c /shop.Cart/List hello"
    assert await call(address, "/any.Thing/Ping") == "grpc-c /any.Thing/Ping hello"
    for method in ("/shop.Carts/List", "/other.Thing/Do"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(address, method)
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_calls_over_tls_by_hostname(city: City, servers: dict[str, Server]) -> None:
    pair = AUTHORITY.sign("*.example.com")
    await city.secret("grpc", pair.chain, pair.key)
    address = await city.gateway("secure-calls", https("https", "grpc"))
    for name in ("a", "b"):
        await city.route(
            f"secure-{name}", "secure-calls", to(f"grpc-{name}"), kind=GRPC_ROUTES, hostnames=[f"{name}.example.com"]
        )
    for name in ("a", "b"):
        assert (await call(address, "/x.Y/Z", f"{name}.example.com", secure=True)).startswith(f"grpc-{name} ")


async def test_status_details_and_trailers_come_through(city: City, servers: dict[str, Server]) -> None:
    address = await city.gateway("trailers")
    await city.route("trailers", "trailers", to("grpc-a"), kind=GRPC_ROUTES)
    async with channel(address) as to_gateway:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await to_gateway.unary_unary("/x.Y/Z")(b"fail", timeout=10)
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.ALREADY_EXISTS, "told so")
        asked = to_gateway.unary_unary("/x.Y/Z")(b"hello", timeout=10)
        await asked
        assert ("x-end", "trailer") in [(k, v) for k, v in await asked.trailing_metadata()]


async def test_streams_flow_in_both_directions(city: City, servers: dict[str, Server]) -> None:
    address = await city.gateway("streams")
    await city.route("streams", "streams", to("grpc-a"), kind=GRPC_ROUTES)
    async with channel(address) as to_gateway:
        stream = to_gateway.stream_stream("/x.Y/Stream")(timeout=10)
        for word in (b"one", b"two", b"three"):
            await stream.write(word)
            assert await stream.read() == b"grpc-a " + word
        await stream.done_writing()
        assert await stream.read() == grpc.aio.EOF


async def test_weights_and_what_cannot_be_reached(city: City, servers: dict[str, Server]) -> None:
    address = await city.gateway("grpc-weights")
    refs = [{"name": "grpc-a", "port": 80, "weight": 3}, {"name": "grpc-b", "port": 80, "weight": 1}]
    await city.service("grpc-empty", "", 5000)
    await city.route(
        "grpc-weights",
        "grpc-weights",
        {"backendRefs": refs, **matching("w.W")},
        to("grpc-missing", **matching("m.M")),
        to("grpc-empty", **matching("e.E")),
        kind=GRPC_ROUTES,
    )
    found = [(await call(address, "/w.W/Do")).split()[0] for _ in range(60)]
    assert set(found) == {"grpc-a", "grpc-b"} and found.count("grpc-b") < 30
    for method in ("/m.M/Do", "/e.E/Do"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(address, method)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE, method


async def test_filters_of_calls(city: City, servers: dict[str, Server]) -> None:
    address = await city.gateway("grpc-filters")
    request = {"set": [{"name": "x-set", "value": "set"}], "remove": ["x-remove"]}
    response = {"set": [{"name": "x-set", "value": "back"}], "remove": ["x-remove"]}
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": request},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": response},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "grpc-b", "port": 80}}},
    ]
    await city.route("grpc-filters", "grpc-filters", to("grpc-a", filters=filters), kind=GRPC_ROUTES)
    servers["grpc-a"].seen.clear()
    servers["grpc-b"].seen.clear()
    async with channel(address) as to_gateway:
        asked = to_gateway.unary_unary("/f.F/Do")(b"hello", metadata=(("x-remove", "own"), ("x-set", "own")), timeout=10)
        assert (bytes(await asked)).startswith(b"grpc-a ")
        back = {str(k): v for k, v in await asked.initial_metadata()}
    got = servers["grpc-a"].seen[-1]
    assert got["x-set"] == "set" and "x-remove" not in got
    assert back["x-set"] == "back" and "x-remove" not in back

    async def copied() -> bool:
        return bool(servers["grpc-b"].seen)

    await eventually(copied)


async def test_http_routes_speak_http2_with_backends_that_ask_for_it(city: City) -> None:
    server, ip = Server("h2c"), city.new_ip()
    listening = grpc.aio.server(handlers=(server,))
    listening.add_insecure_port(f"{twin(ip)}:5000")
    await listening.start()
    await city.service("h2c", ip, 5000, app="kubernetes.io/h2c")
    address = await city.gateway("h2c")
    await city.route("h2c", "h2c", to("h2c"))
    assert (await call(address, "/x.Y/Z")).startswith("h2c ")
    await listening.stop(None)
