"""Simulated pods answer on sockets: every protocol, driven by the clients that people use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest

from pilothouse.client import loopback
from pilothouse.clock import SystemClock
from pilothouse.nodes.serve.listeners import Listeners

Obj = dict[str, Any]
PORTS = [{"containerPort": 8080}, {"containerPort": 9053, "protocol": "UDP"}]


class Pod:
    """One pod that serves, and where it is found."""

    def __init__(self, listeners: Listeners, number: int) -> None:
        self.listeners = listeners
        self.ip = f"10.{64 + listeners.block}.7.{number}"
        self.host = loopback.twin(self.ip)
        self.url = f"http://{self.host}:8080"
        self.pod: Obj = {
            "metadata": {"namespace": "shop", "name": f"web-{number}", "uid": f"u{number}"},
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "ports": PORTS}]},
        }

    async def set(self, running: tuple[str, ...] = ("main",), deleted: bool = False, **annotations: str) -> None:
        meta = {
            **self.pod["metadata"],
            "annotations": {f"pilothouse.dev/{k.replace('_', '-')}": v for k, v in annotations.items()},
        }
        if deleted:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.pod = {**self.pod, "metadata": meta}
        await self.listeners.follow(meta["uid"], self.pod, running, self.ip, f"10.{192 + self.listeners.block}.0.9")


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    made = Listeners(SystemClock())
    made.start()
    yield made
    made.stop()
    await asyncio.sleep(0)


@pytest.fixture
async def pod(listeners: Listeners) -> Pod:
    made = Pod(listeners, 1)
    await made.set()
    return made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def raw(pod: Pod, *parts: bytes) -> bytes:
    """Everything that comes back on one connection, whose client then sends no more."""
    reader, writer = await asyncio.open_connection(pod.host, 8080)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)
    writer.write_eof()
    got = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return got


async def test_an_answer_tells_who_gave_it_and_what_was_asked(pod: Pod, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{pod.url}/a/b?c=d", data=b"12345", headers={"x-one": "1", "Accept": "*/*"}) as answer:
        told = await answer.json()
    assert answer.status == 200
    assert answer.headers["Server"] == "pilothouse-simulated" and answer.headers["X-Pod-Name"] == "web-1"
    assert (
        told.items()
        >= {"namespace": "shop", "pod": "web-1", "node": "n1", "podIP": pod.ip, "container": "main", "port": 8080}.items()
    )
    assert (
        told.items()
        >= {"method": "POST", "path": "/a/b?c=d", "host": f"{pod.host}:8080", "bodyLength": 5, "proto": "HTTP/1.1"}.items()
    )
    assert told["headers"]["X-One"] == ["1"]
    async with http.get(pod.url, headers={"Accept": "text/html,*/*"}) as answer:
        assert answer.content_type == "text/plain" and "pod: web-1\n" in await answer.text()


async def test_connections_are_kept_and_requests_on_them_counted_in_chunks(pod: Pod, http: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000

    for _ in range(3):
        async with http.put(pod.url, data=pieces()) as answer:
            assert (await answer.json())["bodyLength"] == 3000
    served = pod.listeners._pods["u1"].served
    assert len(served.connections) == 1


async def test_a_head_has_the_length_of_its_get_and_no_body(pod: Pod) -> None:
    answers = await raw(pod, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    first, second, body = answers.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.splitlines()[-1] == second.splitlines()[-1] == b"Content-Length: %d" % len(body)


async def test_a_client_that_expects_100_is_told_to_continue(pod: Pod) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    got = await raw(pod, head, b"abc")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n") and b'"bodyLength":3' in got


async def test_requests_in_a_pipeline_are_answered_in_order(pod: Pod) -> None:
    await pod.set(latency="1ms-20ms")
    got = await raw(pod, b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(100)))
    order = [int(part.split(b'"', 1)[0]) for part in got.split(b'"path":"/')[1:]]
    assert order == list(range(100))


async def test_old_and_closing_clients_are_told_what_becomes_of_the_connection(pod: Pod) -> None:
    assert b"Connection: close" in await raw(pod, b"GET / HTTP/1.0\r\n\r\n")
    assert b"Connection: keep-alive" in await raw(pod, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: close" in await raw(pod, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("bad", [b"GET / HTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
async def test_what_is_no_http_after_all_is_a_bad_request(pod: Pod, bad: bytes) -> None:
    assert (await raw(pod, bad)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_head_without_end_is_refused(pod: Pod) -> None:
    got = await raw(pod, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000)
    assert got.startswith(b"HTTP/1.1 431 ")


async def test_what_is_not_http_comes_back_as_it_is(pod: Pod) -> None:
    assert await raw(pod, b"G", b"hello\n", b"\x00\xff") == b"Ghello\n\x00\xff"
    assert await raw(pod, b"\x16\x03\x01") == b"\x16\x03\x01"


async def test_a_big_echo_goes_at_the_clients_pace(pod: Pod) -> None:
    reader, writer = await asyncio.open_connection(pod.host, 8080)
    size = 8 * 2**20
    sending = asyncio.create_task(_send(writer, b"z" * size))
    await asyncio.sleep(0.1)  # nothing is read meanwhile: the pod must not pile it up
    assert len(await asyncio.wait_for(reader.readexactly(size), 20)) == size
    await sending
    writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_datagrams_come_back_with_the_pods_name(pod: Pod) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            got.put_nowait(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Client, remote_addr=(pod.host, 9053))
    transport.sendto(b"hello")
    assert await asyncio.wait_for(got.get(), 5) == b"web-1 hello"
    transport.close()


async def test_a_websocket_echoes_texts_bytes_and_fragments(pod: Pod, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(pod.url, protocols=("chat",)) as socket:
        assert socket.protocol == "chat"
        await socket.send_str("grüße")
        assert (await socket.receive_str(timeout=5)) == "grüße"
        await socket.send_bytes(b"\x00" * 100_000)
        assert (await socket.receive_bytes(timeout=5)) == b"\x00" * 100_000
        await socket.ping()
        await socket.close()
    assert socket.close_code == 1000
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await pod.set(http_status="503")
        await http.ws_connect(pod.url)


async def test_http2_by_prior_knowledge(pod: Pod) -> None:
    await pod.set(latency="5ms", body_size="200Ki")
    async with httpx.AsyncClient(http1=False, http2=True) as client:
        answers = await asyncio.gather(*(client.post(f"{pod.url}/{n}", content=b"x" * 100_000) for n in range(5)))
        assert {(a.http_version, a.status_code, len(a.content)) for a in answers} == {("HTTP/2", 200, 200 * 1024)}
        await pod.set()
        told = (await client.get(f"{pod.url}/x", headers={"a-b": "c"})).json()
        assert told["proto"] == "HTTP/2.0" and told["headers"]["A-B"] == ["c"]
        assert (await client.head(pod.url)).status_code == 200


async def test_grpc_calls_are_echoed_and_its_health_is_told(pod: Pod) -> None:
    grpc = pytest.importorskip("grpc", reason="the extra `etcd` is not installed")
    async with grpc.aio.insecure_channel(f"{pod.host}:8080") as channel:
        assert await channel.unary_unary("/any.Service/Call")(b"hello", timeout=5) == b"hello"
        stream = channel.stream_stream("/any.Service/Talk")(timeout=5)
        for text in (b"one", b"two"):  # each answered before the next is sent
            await stream.write(text)
            assert await stream.read() == text
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await health(b"", timeout=5) == b"\x08\x01"
        await pod.set(fail_readiness="true")
        assert await health(b"", timeout=5) == b"\x08\x02"
        await pod.set(http_status="503")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/any.Service/Call")(b"hello", timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_annotations_set_status_latency_size_and_readiness(pod: Pod, http: aiohttp.ClientSession) -> None:
    async def status(path: str) -> int:
        async with http.get(pod.url + path) as answer:
            await answer.read()
            return answer.status

    await pod.set(http_status="503, /api=404, /api/v2=204, /gone=nothing")
    assert [await status(p) for p in ("/", "/api", "/api/v1", "/apis", "/api/v2/x?y")] == [503, 404, 404, 503, 204]
    await pod.set(fail_readiness="true")
    assert [await status(p) for p in ("/healthz", "/readyz?verbose", "/livez", "/")] == [503, 503, 200, 200]
    await pod.set(body_size="64Ki", latency="30ms")
    begun = asyncio.get_running_loop().time()
    async with http.get(pod.url) as answer:
        assert len(await answer.read()) == 65_536
    assert asyncio.get_running_loop().time() - begun >= 0.03


async def test_ports_for_tls_speak_it_and_choose_http2_by_alpn(listeners: Listeners, http: aiohttp.ClientSession) -> None:
    pod = Pod(listeners, 3)
    pod.pod["spec"]["containers"][0]["ports"] = [{"name": "https", "containerPort": 9443}, {"containerPort": 8080}]
    await pod.set(tls="self-signed")
    async with http.get(f"https://{pod.host}:9443/", ssl=False) as answer:
        told = await answer.json()
    assert told["secure"] is True and told["port"] == 9443
    async with http.get(f"{pod.url}/") as answer:
        assert "secure" not in await answer.json()
    async with httpx.AsyncClient(http2=True, verify=False) as client:
        assert (await client.get(f"https://{pod.host}:9443/")).http_version == "HTTP/2"
        asking = asyncio.create_task(client.get(f"https://{pod.host}:9443/"))
        assert (await asking).status_code == 200
        await pod.set(running=(), tls="self-signed")
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"https://{pod.host}:9443/", ssl=False)


async def test_a_certificate_comes_from_a_secret(http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    import base64
    import ssl

    from pilothouse.client.serving import self_signed

    pem = self_signed(SystemClock().now())
    begin = pem.index(b"-----BEGIN CERTIFICATE")
    encoded = {"tls.crt": base64.b64encode(pem[begin:]).decode(), "tls.key": base64.b64encode(pem[:begin]).decode()}

    async def read(namespace: str, name: str) -> Obj | None:
        return {"data": encoded} if (namespace, name) == ("shop", "web-tls") else None

    listeners = Listeners(SystemClock(), read)
    listeners.start()
    one, two = Pod(listeners, 1), Pod(listeners, 2)
    for pod, secret in ((one, "web-tls"), (two, "none")):
        pod.pod["spec"]["containers"][0]["ports"] = [{"containerPort": 8443}]
        await pod.set(tls=secret)
    trusting = ssl.create_default_context(cadata=pem[begin:].decode())
    async with http.get(f"https://{one.host}:8443/", ssl=trusting, server_hostname="localhost") as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await http.get(f"https://{two.host}:8443/", ssl=trusting, server_hostname="localhost")
    assert "secret none has no certificate" in caplog.text
    listeners.stop()
    await asyncio.sleep(0)


async def test_requests_cost_what_the_annotation_says(pod: Pod, http: aiohttp.ClientSession) -> None:
    await pod.set(cpu_per_request="20m")
    for _ in range(50):
        async with http.get(pod.url) as answer:
            await answer.read()
    used = pod.listeners.loads()["u1"]["main"]
    assert 100 <= used <= 200  # a second of CPU within moments, spread over the five that are measured


async def test_a_pod_that_is_to_stop_serves_on_and_sends_its_clients_away(pod: Pod, http: aiohttp.ClientSession) -> None:
    async with http.get(pod.url) as answer:
        assert "Connection" not in answer.headers
    await pod.set(deleted=True)
    async with http.get(pod.url) as answer:
        assert answer.status == 200 and answer.headers["Connection"] == "close"
    async with http.get(f"{pod.url}/healthz") as answer:  # on a new connection
        assert answer.status == 503


async def test_what_is_being_answered_when_the_container_ends_is_answered(pod: Pod, http: aiohttp.ClientSession) -> None:
    await pod.set(latency="150ms")
    asking = asyncio.create_task(http.get(pod.url))
    await asyncio.sleep(0.05)
    await pod.set(running=(), deleted=True)
    pod.listeners.close("u1")
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(pod.url)
    answer = await asking
    assert answer.status == 200 and (await answer.json())["pod"] == "web-1"


async def test_idle_connections_end_with_their_container(pod: Pod, http: aiohttp.ClientSession) -> None:
    echo, writer = await asyncio.open_connection(pod.host, 8080)
    writer.write(b"hi")
    assert await echo.read(10) == b"hi"
    async with http.ws_connect(pod.url) as socket:
        await pod.set(running=())
        assert (await socket.receive(timeout=5)).data == 1001
    assert await asyncio.wait_for(echo.read(), 5) == b""
    writer.close()
    await pod.set()
    async with http.get(pod.url) as answer:  # and it comes back
        assert answer.status == 200


async def test_http2_clients_are_sent_away_and_may_finish(pod: Pod) -> None:
    grpc = pytest.importorskip("grpc", reason="the extra `etcd` is not installed")
    async with grpc.aio.insecure_channel(f"{pod.host}:8080") as channel:
        talk = channel.stream_stream("/any.Service/Talk")(timeout=20)
        await talk.write(b"one")
        assert await talk.read() == b"one"
        served = pod.listeners._pods["u1"].served
        (first,) = served.connections
        await pod.set(deleted=True)
        async with asyncio.timeout(20):
            while served.last_arrival is None:  # on a new connection, when the client has heard that it is to go
                assert await channel.unary_unary("/any.Service/Call")(b"hello", timeout=20) == b"hello"
        await pod.set(running=(), deleted=True)
        await talk.write(b"two")
        assert await talk.read() == b"two"
        assert first in served.connections
        await talk.done_writing()
        assert await talk.read() is grpc.aio.EOF


async def test_the_hosts_network_and_host_ports_are_at_the_node(listeners: Listeners, http: aiohttp.ClientSession) -> None:
    pod = Pod(listeners, 2)
    node = f"127.{192 + listeners.block}.0.9"
    pod.pod["spec"]["containers"][0]["ports"] = [{"containerPort": 8081, "hostPort": 18081}]
    await pod.set()
    for where in (f"{pod.host}:8081", f"{node}:18081"):
        async with http.get(f"http://{where}") as answer:
            assert (await answer.json())["port"] == 8081


async def test_an_address_that_is_taken_is_told_once(pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    twice = Pod(pod.listeners, 1)
    twice.pod["metadata"]["uid"] = "other"
    with caplog.at_level(logging.WARNING, "pilothouse.nodes"):
        await twice.set()
        await twice.set()
    assert [r.message for r in caplog.records] == [
        f"a simulated pod cannot listen: TCP {pod.ip}:8080 Address already in use (told once)"
    ]


async def test_a_pod_runs_on_where_no_sockets_are_left(listeners: Listeners, caplog: pytest.LogCaptureFixture) -> None:
    listeners._room = 1
    one, two = Pod(listeners, 1), Pod(listeners, 2)
    with caplog.at_level(logging.WARNING, "pilothouse.nodes"):
        await one.set()
        await two.set()
    assert len(caplog.records) == 1 and "no file descriptors are left" in caplog.text
    listeners.close("u1")
    await two.set()
    assert listeners._pods["u2"].open


async def test_two_processes_do_not_share_addresses(listeners: Listeners) -> None:
    other = Listeners(SystemClock())
    other.start()
    assert other.block != listeners.block
    other.stop()
