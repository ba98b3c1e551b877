"""What only the SQLite engine must do: live through restarts and bad disks, and keep its file small."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.clock import SystemClock
from pilothouse.store import sqlite
from pilothouse.store.interface import StoreError
from pilothouse.store.sqlite import SqliteStore


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


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file can grow beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_fails_writes_with_one_line_and_loses_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    kept = [(await store.put(f"/{n}", os.urandom(1000))).held() for n in range(10)]
    size = (tmp_path / "pilothouse.db-wal").stat().st_size
    with file_size_limit(size + 100_000):
        results = await asyncio.gather(*(store.put(f"/more/{n}", os.urandom(100_000)) for n in range(5)), return_exceptions=True)
        assert {type(r) for r in results} == {StoreError}
        assert "free some space" in str(results[0]) and "\n" not in str(results[0])
        assert store.revision() == kept[-1].mod_revision
        assert (await store.range("/")).kvs == kept
    after = await store.put("/after", b"x")
    assert after.mod_revision == kept[-1].mod_revision + 1
    await store.close()
    again = SqliteStore(tmp_path, SystemClock())
    await again.start()
    assert (await again.range("/")).kvs == [*kept, after]
    await again.close()


async def test_a_directory_that_cannot_be_written_is_refused_with_a_remedy() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        with unprivileged(), pytest.raises(StoreError, match=r"^cannot use data directory .* choose another --data-dir"):
            await SqliteStore(folder, SystemClock()).start()


async def test_a_database_that_cannot_be_written_is_refused_with_a_remedy() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(folder, SystemClock())
        await store.start()
        await store.put("/a", b"1")
        await store.close()
        for name in ("pilothouse.db", "lock"):
            os.chmod(Path(folder) / name, 0o444)
        os.chmod(folder, 0o777)
        with unprivileged(), pytest.raises(StoreError, match=r"make it writable|mend its permissions"):
            await SqliteStore(folder, SystemClock()).start()


async def test_another_programs_lock_is_told_and_writing_goes_on_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCK_SECONDS", 0.05)
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    other = sqlite3.connect(tmp_path / "pilothouse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another program"):
        await store.put("/a", b"1")
    other.execute("ROLLBACK")
    other.close()
    assert (await store.put("/a", b"1")).version == 1
    await store.close()


async def test_damage_inside_the_file_is_told_at_the_start(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    for n in range(50):
        await store.put(f"/{n}", os.urandom(2000))
    await store.close()
    with (tmp_path / "pilothouse.db").open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(40960))
    with pytest.raises(StoreError, match="damaged: restore it from a backup"):
        await SqliteStore(tmp_path, SystemClock()).start()


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "new" / "data", SystemClock())
    await store.start()
    await store.put("/secret", b"x")
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "new" / "data").iterdir()}
    assert modes == dict.fromkeys(("lock", "pilothouse.db", "pilothouse.db-wal", "pilothouse.db-shm"), 0o600)
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
    await store.close()


async def test_a_closed_store_finishes_what_waits_and_then_refuses(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    writing = [asyncio.create_task(store.put(f"/{n}", b"x")) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*writing)) == 20
    with pytest.raises(StoreError, match="closed"):
        await store.put("/late", b"x")


async def test_a_swap_waits_for_the_fate_of_the_write_that_it_would_lose_to(tmp_path: Path) -> None:
    """What is not durable yet cannot make another write fail: it may be taken back."""
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    doomed, second = (asyncio.create_task(store.put("/a", v)) for v in (b"doomed", b"second"))
    await asyncio.sleep(0)
    store._failed(StoreError("the disk failed"), [])
    with pytest.raises(StoreError, match="the disk failed"):
        await doomed
    assert (await second).value == b"second"
    await store.close()


async def test_space_of_big_deletions_is_given_back_to_the_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    await asyncio.gather(*(store.put(f"/{n}", os.urandom(20_000)) for n in range(1000)))
    await asyncio.gather(*(store.delete(f"/{n}") for n in range(1000)))
    await store.compact(store.revision())
    for _ in range(30):
        await store.put("/mark", b"", expected=None)
        await store.compact(store.revision())
    connection = sqlite3.connect(tmp_path / "pilothouse.db")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    assert pages < 4000  # of 6,000
    await store.close()


async def test_values_that_are_safe_are_read_from_the_file_and_not_held(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    values = [os.urandom(100_000) for _ in range(100)]
    tracemalloc.start()
    for n, value in enumerate(values):
        await store.put(f"/{n}", bytes(value))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000
    assert [kv.value for n in range(100) if (kv := await store.get(f"/{n}"))] == values
    await store.close()


async def test_the_rows_of_a_history_that_became_too_long_are_deleted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, SystemClock())
    store.keep_changes = 100
    await store.start()
    for n in range(1000):
        await store.put(f"/{n % 10}", b"x", expected=None)
    await store.close()
    connection = sqlite3.connect(tmp_path / "pilothouse.db")
    assert connection.execute("SELECT count(*) FROM changes").fetchone()[0] < 150
    connection.close()


async def test_a_compaction_that_a_crash_cut_short_is_finished_after_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "DELETES", 10)
    store = SqliteStore(tmp_path, SystemClock())
    await store.start()
    for n in range(100):
        await store.put("/a", b"%d" % n, expected=None)
    await store.compact(store.revision())
    await store.put("/b", b"")
    store._gone.clear()  # as if the process had ended now
    await store.close()
    again = SqliteStore(tmp_path, SystemClock())
    await again.start()
    for _ in range(15):
        await again.put("/b", b"", expected=None)
    await again.close()
    connection = sqlite3.connect(tmp_path / "pilothouse.db")
    assert connection.execute("SELECT count(*) FROM changes WHERE key = '/a'").fetchone() == (1,)
    connection.close()
