"""What the benchmarks share: a server of their own, its CPU and memory, and operations over TLS from this process.

CPU is that of the server's process alone, from /proc (Linux); the load comes from the same cores.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

START_LIMIT = 60.0
Operation = Callable[[int], Awaitable[None]]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """A process's memory, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def pod(number: int, name: str = "", **labels: str) -> dict[str, object]:
    """A pod of 1 of 100 applications."""
    container = {"name": "c", "image": "registry.example/app:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    return {
        "metadata": {"name": name or f"p-{number}", "labels": {"app": f"a-{number % 100}", **labels}},
        "spec": {"containers": [container]},
    }


@asynccontextmanager
async def server(memory: bool, nodes: int = 0) -> AsyncIterator[tuple[aiohttp.ClientSession, int, float]]:
    """A cluster with simulated nodes: a session with it, its process, and how long it took until /readyz said ok."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--memory"] if memory else ["--data-dir", f"{folder}/data"]
        command = ["up", "--nodes", str(nodes), "--kubeconfig", f"{folder}/kubeconfig", *where]
        async with running(Path(folder), "--port", command) as (http, process, ready):
            await until_ready(http, process, "/api/v1/namespaces/default/serviceaccounts/default")
            yield http, process.pid, ready


@asynccontextmanager
async def api_server(folder: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, int, float]]:
    """An API server alone, whose data stay in the folder."""
    async with running(folder, "--secure-port", ["apiserver", "--data-dir", str(folder / "data")]) as (http, process, ready):
        yield http, process.pid, ready


@asynccontextmanager
async def running(
    folder: Path, port_flag: str, command: list[str]
) -> AsyncIterator[tuple[aiohttp.ClientSession, subprocess.Popen[bytes], float]]:
    """One of our commands, until /readyz says ok; ended at the end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, token = taken.getsockname()[1], secrets.token_hex(16)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{token},admin,admin,"system:masters"\n')
    tokens.chmod(0o600)
    begun = time.perf_counter()
    more = [port_flag, str(port), "--token-auth-file", str(tokens)]
    process = subprocess.Popen([sys.executable, "-m", "pilothouse", *command, *more], stdout=subprocess.DEVNULL)
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=False, limit=0)
    try:
        async with aiohttp.ClientSession(f"https://127.0.0.1:{port}", headers=headers, connector=connector) as http:
            await until_ready(http, process, "/readyz")
            yield http, process, time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


async def until_ready(http: aiohttp.ClientSession, process: subprocess.Popen[bytes], path: str) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end and process.poll() is None:
        try:
            async with http.get(path) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass  # not listening yet
        await asyncio.sleep(0.01)
    raise SystemExit(f"the server did not get ready: {path}")


async def measure(name: str, pid: int, count: int, connections: int, operation: Operation) -> None:
    """Do an operation `count` times from some connections, and say what each cost the server."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await operation(number)

    before, begun = cpu(pid), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(min(connections, count))))
    rate, cost = count / (time.perf_counter() - begun), (cpu(pid) - before) / count
    tell(name, count, rate, cost)


def heading() -> None:
    print(f"{'operation':40} {'times':>7} {'a second':>11} {'CPU ms':>11}")


def tell(name: str, count: int, rate: float, cost: float) -> None:
    """One line: how often, how fast, and seconds of CPU for each."""
    print(f"{name:40} {count:7,} {rate:11,.1f} {cost * 1e3:11.3f}", flush=True)


def caller(http: aiohttp.ClientSession) -> Callable[..., Operation]:
    """Makes operations of a method, a path for each number, a body for each number, and headers."""

    def call(method: str, path: Callable[[int], str], body: Callable[[int], object] | None = None,
             headers: dict[str, str] | None = None) -> Operation:  # fmt: skip
        async def operation(number: int) -> None:
            async with http.request(method, path(number), json=body and body(number), headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()

        return operation

    return call
