"""The informer: what it holds, what it tells, and how it finds back after failures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from server import FakeServer

from pilothouse.api.errors import internal
from pilothouse.client.informer import PAGE, Informer, InformerFactory
from pilothouse.client.interface import Obj
from pilothouse.clock import VirtualClock

PODS = "/api/v1/pods"

Told = tuple[str | None, str | None]


def pod(namespace: str = "a", **more: str) -> Obj:
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": namespace}, **more}


def path(name: str, namespace: str = "a") -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


@contextlib.asynccontextmanager
async def following(server: FakeServer, clock: VirtualClock, resync: float = 0.0) -> AsyncIterator[tuple[Informer, list[Told]]]:
    """A running informer, and what its handler was told: names before and after."""
    informer = Informer(server, clock, PODS, resync=resync)
    told: list[Told] = []

    def handler(before: Obj | None, after: Obj | None) -> None:
        told.append(tuple(o["metadata"]["name"] if o else None for o in (before, after)))  # type: ignore[arg-type]

    informer.add_handler(handler)
    task = asyncio.create_task(informer.run())
    await clock.settle()
    yield informer, told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


async def test_it_holds_what_was_there_and_what_came_after_without_copying(server: FakeServer, clock: VirtualClock) -> None:
    server.put(path("one"), pod())
    async with following(server, clock) as (informer, told):
        assert informer.synced
        two = server.put(path("two", "b"), pod("b"))
        await clock.settle()
        assert informer.get("b", "two") is two
        server.put(path("one"), pod(spec="new"))
        server.remove(path("two", "b"))
        await clock.settle()
        assert [o["spec"] for o in informer.list()] == ["new"] and informer.list("b") == []
        assert told == [(None, "one"), (None, "two"), ("one", "one"), ("two", None)]


async def test_indexes_follow_changes(server: FakeServer, clock: VirtualClock) -> None:
    server.put(path("one"), pod(node="n1"))
    async with following(server, clock) as (informer, _):
        informer.add_index("node", lambda o: [o["node"]] if "node" in o else [])
        assert [o["metadata"]["name"] for o in informer.indexed("node", "n1")] == ["one"]
        server.put(path("one"), pod(node="n2"))
        server.put(path("two"), pod())
        await clock.settle()
        assert informer.indexed("node", "n1") == []
        assert len(list(informer.indexed("node", "n2"))) == 1


async def test_an_object_may_give_a_value_of_an_index_several_times(server: FakeServer, clock: VirtualClock) -> None:
    server.put(path("one"), pod(nodes=["n1", "n1"]))
    async with following(server, clock) as (informer, _):
        informer.add_index("nodes", lambda o: o["nodes"])
        server.put(path("one"), pod(nodes=["n2", "n2"]))
        await clock.settle()
        assert informer.indexed("nodes", "n1") == []
        assert len(list(informer.indexed("nodes", "n2"))) == 1


async def test_a_big_collection_is_read_in_pages(server: FakeServer, clock: VirtualClock) -> None:
    for n in range(PAGE + 5):
        server.put(path(f"p{n}"), pod())
    async with following(server, clock) as (informer, _):
        assert len(informer) == PAGE + 5
        assert [q.get("continue") for _, _, q in server.requests] == [None, str(PAGE)]


async def test_a_watch_that_ends_goes_on_where_it_was(server: FakeServer, clock: VirtualClock) -> None:
    async with following(server, clock) as (_, told):
        server.put(path("one"), pod())
        server.bookmark(PODS)
        await clock.advance(2)
        server.end_watches()
        server.put(path("two"), pod())
        await clock.advance(1)
        assert told == [(None, "one"), (None, "two")]
        assert len(server.requests) == 1, "listed once"
        assert server.watches[1][1]["resourceVersion"] == "102", "the bookmark's"
        assert 300 <= int(server.watches[1][1]["timeoutSeconds"]) <= 600


async def test_when_the_past_is_gone_it_lists_again_and_tells_the_differences(server: FakeServer, clock: VirtualClock) -> None:
    for name in ("stays", "changes", "goes"):
        server.put(path(name), pod())
    async with following(server, clock) as (informer, told):
        stays = informer.get("a", "stays")
        told.clear()
        server.end_watches()
        server.faults = [OSError("reset")] * 3
        await clock.settle()
        server.put(path("changes"), pod(spec="new"))
        server.remove(path("goes"))
        server.put(path("comes"), pod())
        server.forget()
        await clock.advance(10)
        assert sorted(told, key=str) == sorted([("goes", None), ("changes", "changes"), (None, "comes")], key=str)
        assert informer.get("a", "stays") is stays


async def test_an_unreachable_server_is_asked_less_and_less_often(server: FakeServer, clock: VirtualClock) -> None:
    server.faults = [OSError("refused")] * 1000
    async with following(server, clock) as (informer, _):
        await clock.advance(60)
        few = len(server.requests)
        assert not informer.synced and 7 <= few <= 10
        server.faults = [internal("no")] * 0
        await clock.advance(40)
        assert informer.synced and len(server.requests) == few + 1


async def test_watches_that_end_at_once_do_not_make_it_spin(server: FakeServer, clock: VirtualClock) -> None:
    async with following(server, clock):
        for _ in range(20):
            server.end_watches()
            await clock.advance(0.1)
        assert len(server.watches) < 6


async def test_a_failing_handler_hurts_nobody(server: FakeServer, clock: VirtualClock) -> None:
    async with following(server, clock) as (informer, told):

        def broken(before: Obj | None, after: Obj | None) -> None:
            raise RuntimeError("broken")

        informer.add_handler(broken)
        server.put(path("one"), pod())
        server.put(path("two"), pod())
        await clock.settle()
        assert len(told) == len(informer) == 2
        informer.remove_handler(broken)


async def test_a_late_handler_is_told_what_is_there(server: FakeServer, clock: VirtualClock) -> None:
    server.put(path("one"), pod())
    async with following(server, clock) as (informer, _):
        late: list[Obj | None] = []
        informer.add_handler(lambda before, after: late.append(after))
        assert late == [informer.get("a", "one")]


async def test_a_resync_tells_everything_again(server: FakeServer, clock: VirtualClock) -> None:
    server.put(path("one"), pod())
    async with following(server, clock, resync=30) as (_, told):
        await clock.advance(65)
        assert told == [(None, "one"), ("one", "one"), ("one", "one")]
    assert clock.next_timer() is None


async def test_a_factory_shares_informers_and_takes_new_ones_while_it_runs(server: FakeServer, clock: VirtualClock) -> None:
    factory = InformerFactory(server, clock)
    first = factory.informer(PODS)
    assert factory.informer(PODS) is first
    task = asyncio.create_task(factory.run())
    await clock.settle()
    second = factory.informer("/api/v1/nodes")
    await clock.settle()
    assert first.synced and second.synced
    factory.drop(PODS)
    await clock.settle()
    assert factory.informer(PODS) is not first
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
