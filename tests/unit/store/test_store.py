"""One suite for every engine: the contract of store/interface.py."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilothouse.clock import SystemClock, VirtualClock
from pilothouse.store.interface import CasFailed, Compacted, FutureRevision, StoreError
from pilothouse.store.memory import MemoryStore
from pilothouse.store.mvcc import MvccStore
from pilothouse.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MvccStore]:
    clock = SystemClock()
    made: MvccStore = MemoryStore(clock) if request.param == "memory" else SqliteStore(tmp_path / "data", clock)
    await made.start()
    yield made
    await made.close()


async def test_a_write_gets_the_next_revision_of_the_whole_store(store: MvccStore) -> None:
    first = await store.put("/a", b"1")
    second = await store.put("/b", b"2")
    assert second.mod_revision == first.mod_revision + 1 == store.revision()


async def test_create_refuses_what_exists_and_says_what_is_there(store: MvccStore) -> None:
    await store.put("/a", b"1")
    with pytest.raises(CasFailed) as failed:
        await store.put("/a", b"2")
    assert failed.value.current is not None and failed.value.current.value == b"1"


async def test_update_needs_the_revision_it_was_read_at(store: MvccStore) -> None:
    kv = await store.put("/a", b"1")
    newer = await store.put("/a", b"2", expected=kv.mod_revision)
    assert (newer.create_revision, newer.version) == (kv.mod_revision, 2)
    with pytest.raises(CasFailed):
        await store.put("/a", b"3", expected=kv.mod_revision)


async def test_delete_takes_a_revision_too(store: MvccStore) -> None:
    kv = await store.put("/a", b"1")
    change = await store.delete("/a")
    assert change.revision == kv.mod_revision + 1 and await store.get("/a") is None
    with pytest.raises(CasFailed):
        await store.delete("/a")


async def test_range_comes_in_pages_at_one_revision(store: MvccStore) -> None:
    for name in "abcde":
        await store.put(f"/x/{name}", name.encode())
    await store.put("/y/z", b"other")
    page = await store.range("/x/", limit=2)
    await store.put("/x/c", b"changed", expected=None)
    await store.delete("/x/d")
    rest = await store.range("/x/", start=page.kvs[-1].key + "\0", revision=page.revision)
    assert [kv.value for kv in (*page.kvs, *rest.kvs)] == [b"a", b"b", b"c", b"d", b"e"]
    assert (page.more, page.count, rest.more) == (True, 5, False)


async def test_the_past_can_be_read_until_it_is_compacted(store: MvccStore) -> None:
    old = await store.put("/a", b"1")
    new = await store.put("/a", b"2", expected=old.mod_revision)
    past = await store.get("/a", revision=old.mod_revision)
    assert past is not None and past.value == b"1"
    await store.compact(new.mod_revision)
    with pytest.raises(Compacted):
        await store.get("/a", revision=old.mod_revision)
    with pytest.raises(FutureRevision):
        await store.get("/a", revision=new.mod_revision + 5)


async def test_watch_sees_every_change_once_in_order_from_a_revision_on(store: MvccStore) -> None:
    first = await store.put("/w/a", b"1")
    watch = store.watch("/w/", first.mod_revision)
    await store.put("/w/a", b"2", expected=first.mod_revision)
    await store.put("/other", b"x")
    await store.delete("/w/a")
    seen = []
    async for batch in watch:
        seen += [(c.key, c.kv.value if c.kv else None, c.previous.value if c.previous else None) for c in batch]
        if len(seen) == 2:
            break
    assert seen == [("/w/a", b"2", b"1"), ("/w/a", None, b"2")]
    await watch.close()


async def test_watch_of_a_compacted_past_says_so(store: MvccStore) -> None:
    for n in range(5):
        await store.put(f"/{n}", b"x")
    await store.compact(store.revision())
    with pytest.raises(Compacted):
        async for _ in store.watch("/", 1):
            pass


async def test_concurrent_writers_of_one_key_have_one_winner(store: MvccStore) -> None:
    kv = await store.put("/a", b"0")
    results = await asyncio.gather(
        *(store.put("/a", b"%d" % n, expected=kv.mod_revision) for n in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(r, CasFailed) for r in results) == 1


async def test_a_key_with_a_time_to_live_goes_by_itself() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    await store.put("/lease", b"x", ttl=15)
    await clock.advance(14)
    assert await store.get("/lease") is not None
    await clock.advance(2)
    assert await store.get("/lease") is None


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    await store.put("/a", b"1")
    await store.put("/b", b"2")
    gone = await store.delete("/b")
    await store.close()
    again = SqliteStore(tmp_path, SystemClock())
    await again.start()
    assert [kv.key for kv in (await again.range("/")).kvs] == ["/a"]
    assert again.revision() == gone.revision
    past = await again.get("/b", revision=gone.revision - 1)
    assert past is not None and past.value == b"2"
    await again.close()


async def test_the_revision_survives_compaction_and_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    await store.put("/a", b"1")
    await store.delete("/a")
    newest = store.revision()
    await store.compact(newest)
    await store.close()
    again = SqliteStore(tmp_path, SystemClock())
    await again.start()
    assert again.revision() == newest and await again.compacted_revision() == newest
    await again.close()


async def test_the_file_stays_bounded_under_lease_renewals(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    sizes = []
    for _ in range(20):
        for _ in range(20):
            await asyncio.gather(*(store.put(f"/leases/{n}", os.urandom(128), expected=None) for n in range(500)))
        await store.compact(store.revision())
        await store.put("/mark", b"", expected=None)
        sizes.append((tmp_path / "pilothouse.db").stat().st_size)
    assert store.revision() > 200_000
    assert sizes[-1] <= max(sizes[:4]) * 1.5, sizes
    await store.close()


async def test_a_data_directory_has_one_user(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    with pytest.raises(StoreError, match="in use by another process"):
        await SqliteStore(tmp_path, SystemClock()).start()
    await store.close()


async def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pilothouse.db").write_bytes(b"this is not a database" * 500)
    with pytest.raises(StoreError, match="damaged"):
        await SqliteStore(tmp_path, SystemClock()).start()
    assert (tmp_path / "pilothouse.db").read_bytes().startswith(b"this is not")


async def test_a_failed_commit_fails_its_writers_and_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    kept = await store.put("/a", b"kept")
    store._jobs.put(([(kept.mod_revision, "/a", b"", 1, 1, 0.0)], [], kept.mod_revision, 1))  # a row that is there already
    store._busy = True
    with pytest.raises(StoreError):
        await store.put("/b", b"lost")
    assert await store.get("/b") is None and store.revision() == kept.mod_revision
    assert (await store.put("/c", b"next")).mod_revision == kept.mod_revision + 1
    await store.close()


_LOAD = """
import asyncio, sys
from pilothouse.clock import SystemClock
from pilothouse.store.sqlite import SqliteStore

async def main(folder):
    store = SqliteStore(folder, SystemClock())
    await store.start()
    async def worker(w):
        n = 0
        while True:
            key = f"/w{w}/{n % 50}"
            kv = await store.get(key)
            if kv is not None and n % 7 == 0:
                change = await store.delete(key)
                print("D", key, change.revision, flush=True)
            else:
                kv = await store.put(key, b"%d" % n * 40, expected=None)
                print("P", key, kv.mod_revision, n, flush=True)
            n += 1
    await asyncio.gather(*(worker(w) for w in range(4)))

asyncio.run(main(sys.argv[1]))
"""


async def _run_and_kill(folder: Path, lines: int) -> list[list[str]]:
    process = subprocess.Popen([sys.executable, "-c", _LOAD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line.split())
        if len(told) == lines:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return [t for t in told if t and len(t) == (4 if t[0] == "P" else 3)]


async def test_no_acknowledged_write_is_lost_when_the_process_is_killed_twenty_times(tmp_path: Path) -> None:
    revision = 0
    for round_ in range(20):
        told = await _run_and_kill(tmp_path, 40 + 37 * round_ % 200)
        store = SqliteStore(tmp_path, SystemClock())
        await store.start()
        assert store.revision() >= max(int(t[2]) for t in told) > revision
        for t in told:
            kv = await store.get(t[1], revision=int(t[2]))
            assert (kv and kv.value) == (b"%d" % int(t[3]) * 40 if t[0] == "P" else None)
        revision = store.revision()
        await store.close()
