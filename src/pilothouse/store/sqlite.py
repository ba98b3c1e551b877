"""The SQLite engine, the embedded default: one file, one writer thread, group commit.

A row per change, keyed by revision. WAL with `synchronous=FULL`: a write is acknowledged only after the fsync of the transaction that
holds it. The writer thread takes everything that is waiting in one transaction; while it works the next batch gathers, and goes on
gathering for as long as each turn of the event loop adds to it: a commit costs as much CPU as six rows, so that a busy loop must not
hand over single ones. Compaction
deletes the rows that no read can reach, some with each commit; SQLite uses their pages again, so the file stops growing, and when a
good part of it is free some is given back. Only values of writes that are not yet safe, or just became so, are in memory: older ones are read
again by their revision, over a connection of the event loop's own, when somebody asks (some microseconds; the watch cache seldom does).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import queue
import sqlite3
import threading
from pathlib import Path
from typing import IO

from pilothouse.store.interface import Change, Compacted, KeyValue, StoreError
from pilothouse.store.mvcc import MvccStore, _Clock

log = logging.getLogger("pilothouse.store")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
  revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL, version INTEGER NOT NULL, expires REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_INSERT = "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)"
_INDEX = "SELECT revision, key, length(value), created, version, expires FROM changes ORDER BY revision"
_VALUES = "SELECT revision, value FROM changes WHERE revision IN (SELECT value FROM json_each(?))"
_FACT = "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_PRAGMAS = (
    "page_size=8192",  # of new files: a fifth less CPU per row than the usual 4096
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=1000",
    "journal_size_limit=67108864",
)
#: How long another program's lock on the file is waited for.
LOCK_SECONDS = 2.0
#: Rows that one commit deletes beside its work, so that a big compaction holds nobody up.
DELETES = 4000
#: Values read at a time.
READS = 1000
#: Free pages (of 8 KiB) below which nothing is given back; how many are given back at a time.
KEEP_FREE, GIVE_BACK = 1000, 250
#: So many rows are handed over at once, whether more are coming or not.
FULL_BATCH = 128

_Row = tuple[int, str, bytes | None, int, int, float]
#: What the writer is handed: rows to insert, revisions to delete, the newest revision, the oldest readable one.
_Job = tuple[list[_Row], list[int], int, int]


class SqliteStore(MvccStore):
    """`folder`/pilothouse.db. The folder is made, mode 0700, and locked against other processes."""

    def __init__(self, folder: str | Path, clock: _Clock) -> None:
        super().__init__(clock)
        self._folder = Path(folder)
        self._path = self._folder / "pilothouse.db"
        self._lock: IO[str] | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows: list[_Row] = []
        self._gone: list[int] = []
        self._busy = False
        self._scheduled = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._reader: sqlite3.Connection | None = None
        self._read = self._value

    # --- opening and closing -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._take_lock()
        try:
            connection = self._open()
        except StoreError:
            self._release_lock()
            raise
        self._thread = threading.Thread(target=self._work, args=(connection,), name="pilothouse-sqlite", daemon=True)
        self._thread.start()
        self._arm_expiry()

    async def close(self) -> None:
        await super().close()
        await self._idle.wait()
        self._close_reader()
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._release_lock()

    def _value(self, revision: int) -> bytes:
        """The value written at a revision, from the file."""
        return self._read_many([revision])[revision]

    def _read_many(self, revisions: list[int]) -> dict[int, bytes]:
        reader = self._reader
        if reader is None:
            raise StoreError("the store is closed")
        found: dict[int, bytes] = {}
        try:
            for start in range(0, len(revisions), READS):
                found.update(reader.execute(_VALUES, (json.dumps(revisions[start : start + READS]),)))
        except sqlite3.Error as e:
            raise StoreError(explain(e, self._path)) from None
        if len(found) < len(set(revisions)):
            raise Compacted(self._oldest)
        return found

    def _take_lock(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = open(self._folder / "lock", "a+")  # noqa: SIM115 - held until close
            os.chmod(self._folder / "lock", 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release_lock()
            raise StoreError(
                f"data directory {self._folder} is in use by another process; stop it or choose another --data-dir"
            ) from None
        except OSError as e:
            self._release_lock()
            raise StoreError(
                f"cannot use data directory {self._folder}: {e.strerror}; choose another --data-dir or mend its permissions"
            ) from None

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(self._path, 0o600)
            connection = self._connect()
        except (sqlite3.Error, OSError) as e:
            raise StoreError(explain(e, self._path)) from None
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.executescript(_SCHEMA)
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only=ON")
            self._load(connection)
        except sqlite3.Error as e:
            self._close_reader()
            connection.close()
            raise StoreError(explain(e, self._path)) from None
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=LOCK_SECONDS)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _load(self, connection: sqlite3.Connection) -> None:
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        for revision, key, size, created, version, expires in connection.execute(_INDEX):
            kv = None if size is None else KeyValue(key, b"", revision, created, version).released(self._value, size)
            self._restore(Change(key, revision, kv, self._newest(key)))
            if expires and kv is not None:
                self._expire_at(expires, kv)
        self._oldest = facts.get("oldest", 1)
        self._gone = self._drop_history(self._oldest)
        self._revision = self._durable = max(self._revision, facts.get("newest", 1))

    # --- writing -----------------------------------------------------------------------------------------------------------------

    def _persist(self, change: Change, expires: float) -> None:
        kv = change.kv
        if kv is None:
            self._rows.append((change.revision, change.key, None, 0, 0, 0.0))
        else:
            self._rows.append((change.revision, change.key, kv.value, kv.create_revision, kv.version, expires))
        self._schedule()

    def _forget(self, revisions: list[int]) -> None:
        self._gone.extend(revisions)
        self._schedule()

    def _schedule(self) -> None:
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._gather, len(self._rows))

    def _gather(self, before: int) -> None:
        """Hand over what is waiting, unless the turn of the loop that ends here brought more: then the next may, too."""
        count = len(self._rows)
        if before < count < FULL_BATCH:
            asyncio.get_running_loop().call_soon(self._gather, count)
        else:
            self._submit()

    def _submit(self) -> None:
        self._scheduled = False
        if not self._rows and not self._gone:
            self._idle.set()
            return
        self._busy = True
        rows, self._rows = self._rows, []
        gone, self._gone = self._gone[:DELETES], self._gone[DELETES:]
        self._jobs.put((rows, gone, self._revision, self._oldest))

    def _finished(self, revision: int) -> None:
        self._busy = False
        self._committed(revision)
        if self._rows or self._gone:
            self._schedule()
        else:
            self._idle.set()

    def _failed(self, error: StoreError, gone: list[int]) -> None:
        log.error("a commit failed: %s", error)
        self._busy = False
        self._gone += gone
        self._rows.clear()
        self._take_back(error)
        self._idle.set()

    # --- the writer thread ---------------------------------------------------------------------------------------------------------

    def _work(self, connection: sqlite3.Connection) -> None:
        loop = self._loop
        assert loop is not None
        while (job := self._jobs.get()) is not None:
            try:
                _commit(connection, job)
            except sqlite3.Error as e:
                loop.call_soon_threadsafe(self._failed, StoreError(explain(e, self._path)), job[1])
                continue
            loop.call_soon_threadsafe(self._finished, job[2])
            if job[1]:
                self._give_back(connection)
        connection.close()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        """Shorten the file when more than a third of it, and not just a little, is free."""
        try:
            (free,), (pages,) = (connection.execute(f"PRAGMA {p}").fetchone() for p in ("freelist_count", "page_count"))
            if free > max(KEEP_FREE, pages // 3):
                connection.executescript(
                    f"PRAGMA incremental_vacuum({GIVE_BACK})"
                )  # a page a step: `execute` would take just one
        except sqlite3.Error as e:
            log.warning("%s", explain(e, self._path))


def _commit(connection: sqlite3.Connection, job: _Job) -> None:
    rows, gone, newest, oldest = job
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(_INSERT, rows)
        if gone:
            connection.executemany("DELETE FROM changes WHERE revision = ?", [(r,) for r in gone])
            connection.executemany(_FACT, [("oldest", oldest), ("newest", newest)])
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


#: What SQLite's error names begin with, and what to say then.
_REMEDIES = (
    ("SQLITE_FULL", "the disk that holds {path} is full: free some space; nothing acknowledged was lost"),
    (
        "SQLITE_IOERR",
        "the disk that holds {path} failed ({name}): free some space or check the disk; nothing acknowledged was lost",
    ),
    ("SQLITE_READONLY", "cannot write {path}: make it writable or choose another --data-dir"),
    ("SQLITE_CANTOPEN", "cannot write {path}: make it writable or choose another --data-dir"),
    ("SQLITE_BUSY", "{path} is locked by another program: close it and try again"),
    ("SQLITE_LOCKED", "{path} is locked by another program: close it and try again"),
    ("SQLITE_CORRUPT", "{path} is damaged: restore it from a backup or move it away to begin anew"),
    ("SQLITE_NOTADB", "{path} is damaged: restore it from a backup or move it away to begin anew"),
)


def explain(error: Exception, path: Path) -> str:
    """One line that says what to do."""
    if isinstance(error, OSError):
        return f"cannot write {path} ({error.strerror}): make it writable or choose another --data-dir"
    name = getattr(error, "sqlite_errorname", "")
    for start, remedy in _REMEDIES:
        if name.startswith(start):
            return remedy.format(path=path, name=name)
    return f"{path}: {error}"
