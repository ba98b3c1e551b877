"""The client's verbs, their paths, errors and retries."""

from __future__ import annotations

import asyncio

import pytest
from server import FakeServer

from pilothouse.api.errors import StatusError
from pilothouse.client.client import DEPLOYMENTS, NODES, PODS, Client, Resource, error_of
from pilothouse.client.interface import Response
from pilothouse.client.retry import ATTEMPTS, RetryingTransport
from pilothouse.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("ns", "p", "log"), "/api/v1/namespaces/ns/pods/p/log"),
        (NODES.path("ignored", "n"), "/api/v1/nodes/n"),
        (DEPLOYMENTS.path("ns"), "/apis/apps/v1/namespaces/ns/deployments"),
        (Resource("rbac.authorization.k8s.io", "v1", "clusterroles", False).path(name="system:node"),
         "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode"),
    ],
)  # fmt: skip
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


async def test_an_object_is_created_read_and_replaced(server: FakeServer, clock: VirtualClock) -> None:
    client = Client(server, clock)
    made = await client.create(PODS, {"metadata": {"name": "p", "namespace": "ns"}})
    assert await client.get(PODS, "p", "ns") == made
    await client.update(PODS, made, fieldManager="me")
    assert server.requests[-1] == ("PUT", "/api/v1/namespaces/ns/pods/p", {"fieldManager": "me"})
    with pytest.raises(StatusError) as error:
        await client.update(PODS, made)
    assert (error.value.code, error.value.reason) == (409, "Conflict")


async def test_what_is_not_there_is_an_error_or_none(server: FakeServer, clock: VirtualClock) -> None:
    client = Client(server, clock)
    with pytest.raises(StatusError) as error:
        await client.get(NODES, "n")
    assert error.value.reason == "NotFound" and await client.find(NODES, "n") is None


async def test_patches_say_what_they_are(server: FakeServer, clock: VirtualClock) -> None:
    seen = []

    class Recording(FakeServer):
        async def request(self, method, path, query=None, body=None, content_type="", accept=""):  # type: ignore[no-untyped-def]
            seen.append((content_type, dict(query or {})))
            return Response(200, {})

    client = Client(Recording(), clock)
    for how in ("strategic", "merge", "json"):
        await client.patch(PODS, "p", {}, "ns", how)
    await client.apply(PODS, {"metadata": {"name": "p", "namespace": "ns"}}, "me", force=True)
    assert [media.split("/")[1] for media, _ in seen] == [
        "strategic-merge-patch+json", "merge-patch+json", "json-patch+json", "apply-patch+yaml",
    ]  # fmt: skip
    assert seen[-1][1] == {"fieldManager": "me", "force": "true"}


async def test_lists_come_in_pages_whose_items_say_what_they_are(server: FakeServer, clock: VirtualClock) -> None:
    for n in range(5):
        server.put(f"/api/v1/namespaces/ns/pods/p{n}", {})
    client = Client(server, clock)
    pages = [page async for page in client.list_pages(PODS, "ns", limit=2)]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert {(o["kind"], o["apiVersion"]) for page in pages for o in page.items} == {("Pod", "v1")}
    assert [o["metadata"]["name"] for o in await client.list(PODS)] == [f"p{n}" for n in range(5)]


async def test_a_busy_server_is_asked_again_when_it_wants_to_be(server: FakeServer, clock: VirtualClock) -> None:
    server.put("/api/v1/nodes/n", {})
    server.faults = [Response(429, {}, {"Retry-After": "3"}), Response(503, {}, {"retry-after": "2"})]
    running = asyncio.create_task(Client(server, clock).get(NODES, "n"))
    assert await clock.run_until(running.done) == pytest.approx(5)
    assert running.result()["metadata"]["name"] == "n"


async def test_without_a_wish_of_the_server_its_refusal_stands(server: FakeServer, clock: VirtualClock) -> None:
    server.faults = [Response(429, {"kind": "Status", "reason": "TooManyRequests", "message": "no", "code": 429})]
    with pytest.raises(StatusError, match="no"):
        await Client(server, clock).get(NODES, "n")


async def test_broken_connections_are_tried_again_for_reads_only(server: FakeServer, clock: VirtualClock) -> None:
    transport = RetryingTransport(server, clock)
    server.faults = [OSError("reset")] * 2
    reading = asyncio.create_task(transport.request("GET", "/api/v1/nodes"))
    await clock.run_until(reading.done)
    assert reading.result().status == 200
    server.faults = [OSError("reset")]
    with pytest.raises(OSError, match="reset"):
        await transport.request("POST", "/api/v1/nodes", body={"metadata": {"name": "n"}})
    server.faults = [OSError("reset")] * 100
    server.requests.clear()
    reading = asyncio.create_task(transport.request("GET", "/api/v1/nodes"))
    await clock.run_until(reading.done)
    assert isinstance(reading.exception(), OSError) and len(server.requests) == ATTEMPTS


def test_answers_that_are_no_status_become_errors_too() -> None:
    assert (error_of(b"bad gateway", 502).code, error_of(b"bad gateway", 502).message) == (502, "bad gateway")
    assert error_of(b"", 500).message == "the server answered 500"
