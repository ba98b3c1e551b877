import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from pilothouse.apiserver import watches
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.messages import Request, Response, Stream
from pilothouse.clock import VirtualClock

from .kit import ADMIN, CONFIGMAPS, Caller, configmap, hub

MERGE = "application/merge-patch+json"


class Wire:
    """The peer of a stream: takes chunks until it is told to be slow."""

    subject = None

    def __init__(self) -> None:
        self.paused = False
        self.ended = self.aborted = False
        self.writes: list[bytes] = []
        self.transport = self

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def end_stream(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for chunk in self.writes for line in chunk.split(b"\r\n", 1)[1].splitlines() if line.strip()]

    def told(self) -> list[tuple[str, str]]:
        return [(e["type"], e["object"]["metadata"].get("name", "")) for e in self.events]


async def follow(
    call: Caller, query: str = "", path: str = CONFIGMAPS, accept: str = "application/json", wire: Wire | None = None
) -> tuple[Wire, Stream]:
    """Open a watch over HTTP."""
    headers = {b"authorization": f"Bearer {call.token}".encode(), b"accept": accept.encode()}
    answer = call.server.chain(Request("GET", f"{path}?watch=true&{query}", headers))
    response = answer if isinstance(answer, Response) else await answer
    assert response.status == 200 and response.stream is not None
    wire = wire or Wire()
    stream = Stream(wire)  # type: ignore[arg-type]
    response.stream(stream)
    return wire, stream


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_watch_begins_with_what_is_there_and_goes_on_with_what_happens() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        wire, _ = await follow(call)
        await call("POST", CONFIGMAPS, configmap("b"))
        await call("PATCH", f"{CONFIGMAPS}/a", {"data": {"k": "v"}}, media=MERGE)
        await call("DELETE", f"{CONFIGMAPS}/b")
        await turn()
        assert wire.told() == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_a_watch_resumes_after_a_revision() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a"))
        await call("POST", CONFIGMAPS, configmap("b"))
        wire, _ = await follow(call, f"resourceVersion={made.body['metadata']['resourceVersion']}")
        assert wire.told() == [("ADDED", "b")]


async def test_a_deleted_object_is_told_in_its_last_state_under_the_deletions_revision() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a", {"k": "v"}))
        wire, _ = await follow(call, f"resourceVersion={made.body['metadata']['resourceVersion']}")
        await call("DELETE", f"{CONFIGMAPS}/a")
        await turn()
        gone = wire.events[0]["object"]
        assert gone["data"] == {"k": "v"}
        assert int(gone["metadata"]["resourceVersion"]) > int(made.body["metadata"]["resourceVersion"])


async def test_entering_a_selection_is_added_and_leaving_it_is_deleted_as_it_was() -> None:
    async with hub() as call:
        wire, _ = await follow(call, "labelSelector=g%3D1")
        await call("POST", CONFIGMAPS, configmap("a", labels={"g": "2"}))
        await call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"labels": {"g": "1"}}}, media=MERGE)
        await call("PATCH", f"{CONFIGMAPS}/a", {"data": {"k": "v"}}, media=MERGE)
        await call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"labels": {"g": "2"}}}, media=MERGE)
        await turn()
        assert wire.told() == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        left = wire.events[2]["object"]["metadata"]
        assert left["labels"] == {"g": "1"} and left["resourceVersion"] != wire.events[1]["object"]["metadata"]["resourceVersion"]


async def test_watchers_of_one_name_or_namespace_hear_of_nothing_else() -> None:
    async with hub() as call:
        await call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
        by_name, _ = await follow(call, "fieldSelector=metadata.name%3Db")
        everywhere, _ = await follow(call, path="/api/v1/configmaps")
        elsewhere, _ = await follow(call, path="/api/v1/namespaces/other/configmaps")
        for name in "ab":
            await call("POST", CONFIGMAPS, configmap(name))
        await turn()
        assert by_name.told() == [("ADDED", "b")]
        assert everywhere.told() == [("ADDED", "a"), ("ADDED", "b")]
        assert elsewhere.told() == []


async def test_what_one_turn_brings_leaves_in_one_write_of_shared_bytes() -> None:
    async with hub() as call:
        wires = [(await follow(call))[0] for _ in range(3)]
        await asyncio.gather(*(call("POST", CONFIGMAPS, configmap(f"c{n}")) for n in range(10)))
        await turn()
        assert [len(w.writes) for w in wires] == [1, 1, 1]
        assert wires[0].writes[0] is wires[1].writes[0]
        assert len(wires[2].events) == 10


async def test_the_initial_state_can_be_streamed_with_a_mark_at_its_end() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        wire, _ = await follow(call, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
        assert [e["type"] for e in wire.events] == ["ADDED", "BOOKMARK"]
        mark = wire.events[1]["object"]
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"} and mark["kind"] == "ConfigMap"


async def test_bookmarks_come_every_minute_to_those_who_want_them() -> None:
    clock = VirtualClock()
    async with hub(clock=clock) as call:
        wanting, _ = await follow(call, "allowWatchBookmarks=true")
        other, _ = await follow(call)
        await clock.advance(61)
        assert [e["type"] for e in wanting.events] == ["BOOKMARK"]
        assert wanting.events[0]["object"]["metadata"]["resourceVersion"] == str(call.server.feed.revision)
        assert other.events == []


async def test_a_last_bookmark_comes_shortly_before_a_watch_ends() -> None:
    clock = VirtualClock()
    async with hub(clock=clock) as call:
        wire, _ = await follow(call, "allowWatchBookmarks=true&timeoutSeconds=10")
        await call("POST", CONFIGMAPS, configmap("a"))
        await clock.advance(9)
        assert [e["type"] for e in wire.events] == ["ADDED", "BOOKMARK"] and not wire.ended
        assert wire.events[1]["object"]["metadata"]["resourceVersion"] == str(call.server.feed.revision)


async def test_a_watch_ends_when_its_time_is_over() -> None:
    clock = VirtualClock()
    async with hub(clock=clock) as call:
        wire, stream = await follow(call, "timeoutSeconds=5")
        await clock.advance(4)
        assert not wire.ended
        await clock.advance(2)
        assert wire.ended and stream.closed and len(call.server.handlers.watches) == 0


async def test_a_revision_that_is_compacted_is_an_error_event() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a"))
        await call("POST", CONFIGMAPS, configmap("b"))
        cache = call.server.cache("", "configmaps")
        cache.oldest = call.server.feed.revision
        await call.server.options.store.compact(call.server.feed.revision)
        wire, _ = await follow(call, f"resourceVersion={made.body['metadata']['resourceVersion']}")
        await until(lambda: wire.ended)
        assert wire.events[0]["type"] == "ERROR" and wire.events[0]["object"]["reason"] == "Expired"
        assert wire.events[0]["object"]["code"] == 410
        assert wire.events[0]["object"]["message"].startswith("too old resource version: ")


async def test_a_slow_watcher_is_dropped_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "SLOW_BYTES", 2000)
    async with hub() as call:
        slow, _ = await follow(call)
        quick, _ = await follow(call)
        slow.paused = True
        for n in range(30):
            await call("POST", CONFIGMAPS, configmap(f"c{n}"))
            await turn()
        assert slow.aborted and not quick.aborted
        assert len(quick.events) == 30 and len(call.server.handlers.watches) == 1


async def test_a_watcher_that_catches_up_misses_nothing() -> None:
    async with hub() as call:
        wire, stream = await follow(call)
        wire.paused = True
        for n in range(5):
            await call("POST", CONFIGMAPS, configmap(f"c{n}"))
            await turn()
        assert wire.events == []
        wire.paused = False
        assert stream.on_drain is not None
        stream.on_drain()
        assert wire.told() == [("ADDED", f"c{n}") for n in range(5)]


async def test_tables_name_their_columns_in_the_first_event_only() -> None:
    async with hub() as call:
        wire, _ = await follow(call, accept="application/json;as=Table;g=meta.k8s.io;v=v1")
        for name in "ab":
            await call("POST", CONFIGMAPS, configmap(name))
        await turn()
        first, second = (e["object"] for e in wire.events)
        assert first["columnDefinitions"][0]["name"] == "Name" and second["columnDefinitions"] is None
        assert second["rows"][0]["cells"][0] == "b"


async def test_yaml_cannot_be_watched() -> None:
    async with hub() as call:
        got = await call("GET", CONFIGMAPS, query={"watch": "true"}, accept="application/yaml")
        assert got.code == 406 and "application/json;stream=watch" in got.body


async def test_a_watch_in_process_hands_over_the_caches_own_objects() -> None:
    async with hub() as call:
        transport = InProcessTransport(call.server.chain, ADMIN)
        await call("POST", CONFIGMAPS, configmap("a"))
        events = transport.watch(CONFIGMAPS, {"allowWatchBookmarks": "true"})
        first = await anext(events)
        entry = call.server.cache("", "configmaps").get("default", "a")
        assert entry is not None and first[0].object is entry.obj
        await call("POST", CONFIGMAPS, configmap("b"))
        assert [(e.type, e.object["metadata"]["name"]) for e in await anext(events)] == [("ADDED", "b")]
        await events.aclose()
        assert not call.server.handlers.native_watches


async def test_a_watch_in_process_ends_after_its_time() -> None:
    clock = VirtualClock()
    async with hub(clock=clock) as call:
        events = InProcessTransport(call.server.chain, ADMIN).watch(CONFIGMAPS, {"timeoutSeconds": "30", "resourceVersion": "1"})

        async def end() -> list[Any]:
            return [batch async for batch in events]

        ended = asyncio.create_task(end())
        await clock.advance(29)
        assert call.server.handlers.native_watches and not ended.done()
        await clock.advance(2)
        assert await ended == [] and not call.server.handlers.native_watches


async def test_watches_in_process_end_with_the_server() -> None:
    async with hub() as call:
        transport = InProcessTransport(call.server.chain, ADMIN)
        batches: list[Any] = []

        async def read() -> None:
            batches.extend([batch async for batch in transport.watch(CONFIGMAPS)])

        reading = asyncio.ensure_future(read())
        await turn()
    await asyncio.wait_for(reading, 2)
    assert batches == []
