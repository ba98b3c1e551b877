"""Keys with a time to live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from etcd_server import EtcdServer

from pilothouse.clock import SystemClock, VirtualClock
from pilothouse.store.etcd import EtcdStore
from pilothouse.store.interface import Store, StoreError
from pilothouse.store.memory import MemoryStore
from pilothouse.store.mvcc import MvccStore
from pilothouse.store.sqlite import SqliteStore


async def keys_become(store: Store, wanted: list[str]) -> None:
    """Wait (in real time, for a writer thread) until the store holds just these keys."""
    async with asyncio.timeout(10):
        while [kv.key for kv in (await store.range("/")).kvs] != wanted:
            await asyncio.sleep(0.005)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite"])
def local(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> MvccStore:
    return MemoryStore(clock) if request.param == "memory" else SqliteStore(tmp_path, clock)


async def test_a_key_with_a_time_to_live_goes_by_itself(local: MvccStore, clock: VirtualClock) -> None:
    await local.start()
    kv = await local.put("/lease", b"x", ttl=15)
    watch = local.watch("/", kv.mod_revision)
    await clock.advance(14)
    assert await local.get("/lease") == kv
    await clock.advance(2)
    (change,) = await anext(aiter(watch))
    assert await local.get("/lease") is None
    assert (change.key, change.kv, change.previous) == ("/lease", None, kv)
    await local.close()


async def test_writing_a_key_again_gives_it_a_new_time_to_live_or_none(local: MvccStore, clock: VirtualClock) -> None:
    await local.start()
    for key in ("/again", "/stays"):
        await local.put(key, b"x", ttl=15)
    await clock.advance(10)
    await local.put("/again", b"y", expected=None, ttl=15)
    await local.put("/stays", b"y", expected=None)
    await clock.advance(10)
    await keys_become(local, ["/again", "/stays"])
    await clock.advance(10)
    await keys_become(local, ["/stays"])
    await local.close()


async def test_the_time_to_live_goes_on_over_a_restart(clock: VirtualClock, tmp_path: Path) -> None:
    first = SqliteStore(tmp_path, clock)
    await first.start()
    for n in range(3):
        await first.put(f"/{n}", b"x", ttl=10 * n + 10)
    await first.close()
    await clock.advance(15)
    second = SqliteStore(tmp_path, clock)
    await second.start()
    await clock.advance(1)
    await keys_become(second, ["/1", "/2"])
    await clock.advance(10)
    await keys_become(second, ["/2"])
    await second.close()


async def test_an_expiry_whose_commit_failed_is_tried_again(clock: VirtualClock, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, clock)
    await store.start()
    await store.put("/lease", b"x", ttl=5)
    clock.jump()  # the expiry is begun
    store._failed(StoreError("the disk failed"), [])
    assert await store.get("/lease") is not None
    await clock.advance(2)
    await keys_become(store, [])
    await store.close()


async def test_an_etcd_key_goes_with_its_lease_which_others_share(etcd_server: EtcdServer) -> None:
    store = EtcdStore([etcd_server.endpoint], SystemClock())
    await store.start()
    shared = await store._lease(3600)
    assert shared == await store._lease(3600) != await store._lease(1800)
    kv = await store.put("/lease", b"x", ttl=1)
    watch = store.watch("/lease", kv.mod_revision)
    async with asyncio.timeout(10):
        async for batch in watch:
            if batch:
                assert batch[0].kv is None and batch[0].previous == kv
                break
    await watch.close()
    await store.close()
