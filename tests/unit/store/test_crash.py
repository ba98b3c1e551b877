"""SIGKILL at random moments: what was acknowledged stays, the revision never goes back."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from pilothouse.clock import SystemClock
from pilothouse.store.sqlite import SqliteStore

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
