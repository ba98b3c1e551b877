"""History in the engines that keep it themselves: bounded in length and size, and read in pages by watches of the past."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pilothouse.clock import SystemClock
from pilothouse.store.interface import Compacted
from pilothouse.store.memory import MemoryStore
from pilothouse.store.mvcc import PAGE, MvccStore
from pilothouse.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> MvccStore:
    clock = SystemClock()
    return MemoryStore(clock) if request.param == "memory" else SqliteStore(tmp_path, clock)


async def write(store: MvccStore, count: int, value: bytes = b"x") -> None:
    await asyncio.gather(*(store.put(f"/k/{n % 7}", value, expected=None) for n in range(count)))


async def test_heavy_writing_keeps_only_so_many_changes(local: MvccStore) -> None:
    local.keep_changes = 200
    await local.start()
    await write(local, 1000)
    oldest = await local.compacted_revision()
    assert 100 <= local.revision() - oldest <= 200
    with pytest.raises(Compacted):
        await local.range("/k/", revision=oldest - 1)
    assert (await local.range("/k/", revision=oldest)).count == 7
    await local.close()


async def test_heavy_writing_keeps_only_so_many_bytes(local: MvccStore) -> None:
    local.keep_bytes = 100_000
    await local.start()
    for _ in range(10):
        await write(local, 50, b"x" * 1000)
    assert 50 <= local.revision() - await local.compacted_revision() <= 100
    await local.close()


async def test_a_watch_of_a_long_past_sees_all_of_it_and_then_what_happens(local: MvccStore) -> None:
    await local.start()
    began = local.revision()
    await write(local, 3 * PAGE)
    watch = local.watch("/k/", began)
    seen: list[int] = []
    async with asyncio.timeout(20):
        async for batch in watch:
            assert len(batch) <= 3 * PAGE
            seen += [c.revision for c in batch]
            if len(seen) in (PAGE, 3 * PAGE):
                await local.put("/k/more", b"y", expected=None)
            if len(seen) == 3 * PAGE + 2:
                break
    assert seen == list(range(began + 1, began + 1 + 3 * PAGE + 2))
    await watch.close()
    await local.close()


async def test_a_watch_whose_past_is_compacted_under_it_ends_with_that(local: MvccStore) -> None:
    await local.start()
    began = local.revision()
    await write(local, 3 * PAGE)
    watch = local.watch("/k/", began)
    with pytest.raises(Compacted):
        async for _ in watch:
            await local.compact(local.revision())
    await watch.close()
    await local.close()


async def test_a_page_of_the_past_counts_what_was_there_then(local: MvccStore) -> None:
    await local.start()
    for n in range(10):
        await local.put(f"/p/{n}", b"x")
    then = local.revision()
    for n in (2, 3, 7):
        await local.delete(f"/p/{n}")
    await local.put("/p/new", b"x")
    page = await local.range("/p/", start="/p/2", limit=3, revision=then)
    assert ([kv.key for kv in page.kvs], page.count, page.more) == (["/p/2", "/p/3", "/p/4"], 8, True)
    await local.close()
