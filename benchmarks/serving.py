"""What serving costs: CPU of `pilothouse up` for one operation over TLS, its start and its memory.

    python benchmarks/serving.py [--memory] [--pods N] [--connections N]

The load comes from this process, on the same cores; CPU is that of the server's process alone, from /proc (Linux).
"""

from __future__ import annotations

import argparse
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

PODS = "/api/v1/namespaces/default/pods"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
MERGE = {"Content-Type": "application/strategic-merge-patch+json"}
START_LIMIT = 60.0
Operation = Callable[[int], Awaitable[None]]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """A process's memory, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def pod(number: int) -> dict[str, object]:
    container = {"name": "c", "image": "registry.example/app:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    return {"metadata": {"name": f"p-{number}", "labels": {"app": f"a-{number % 100}"}}, "spec": {"containers": [container]}}


@asynccontextmanager
async def server(memory: bool) -> AsyncIterator[tuple[aiohttp.ClientSession, int, float]]:
    """A cluster without nodes: a session with it, its process, and how long it took until /readyz said ok."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        port, token = taken.getsockname()[1], secrets.token_hex(16)
        taken.close()
        tokens = Path(folder) / "tokens.csv"
        tokens.write_text(f'{token},admin,admin,"system:masters"\n')
        tokens.chmod(0o600)
        where = ["--memory"] if memory else ["--data-dir", f"{folder}/data"]
        command = [
            sys.executable,
            "-m",
            "pilothouse",
            "up",
            "--nodes",
            "0",
            "--port",
            str(port),
            "--token-auth-file",
            str(tokens),
            *where,
        ]
        begun = time.perf_counter()
        process = subprocess.Popen([*command, "--kubeconfig", f"{folder}/kubeconfig"], stdout=subprocess.DEVNULL)
        headers = {"Authorization": f"Bearer {token}"}
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        try:
            async with aiohttp.ClientSession(f"https://127.0.0.1:{port}", headers=headers, connector=connector) as http:
                await until_ready(http, process, "/readyz")
                ready = time.perf_counter() - begun
                await until_ready(http, process, "/api/v1/namespaces/default/serviceaccounts/default")
                yield http, process.pid, ready
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
    print(f"{name:34} {count:7,} {rate:11,.1f} {cost * 1e3:11.3f}", flush=True)


async def run(arguments: argparse.Namespace) -> None:
    async with server(arguments.memory) as (http, pid, ready):
        print(f"ready after {ready:.2f} s; idle memory {resident(pid):.0f} MiB\n")
        print(f"{'operation':34} {'times':>7} {'a second':>11} {'CPU ms':>11}")

        def call(method: str, path: Callable[[int], str], body: Callable[[int], object] | None = None,
                 headers: dict[str, str] | None = None) -> Operation:  # fmt: skip
            async def operation(number: int) -> None:
                async with http.request(method, path(number), json=body and body(number), headers=headers) as answer:
                    await answer.read()
                    answer.raise_for_status()

            return operation

        count, wide = arguments.pods, arguments.connections
        label = {"metadata": {"labels": {"changed": "yes"}}}
        await measure("create a pod", pid, count, wide, call("POST", lambda n: PODS, pod))
        await measure("get a pod", pid, count, wide, call("GET", lambda n: f"{PODS}/p-{n}"))
        await measure(
            "patch a pod (strategic merge)", pid, count, wide, call("PATCH", lambda n: f"{PODS}/p-{n}", lambda n: label, MERGE)
        )
        await measure(f"list {count:,} pods", pid, 5, 1, call("GET", lambda n: PODS))
        await measure("list a page of 500", pid, 20, 1, call("GET", lambda n: f"{PODS}?limit=500"))
        await measure("list by a label", pid, 20, 1, call("GET", lambda n: f"{PODS}?labelSelector=app%3Da-1"))
        await measure(f"{count:,} pods as a Table, first time", pid, 1, 1, call("GET", lambda n: PODS, None, TABLE))
        await measure(f"{count:,} pods as a Table, again", pid, 5, 1, call("GET", lambda n: PODS, None, TABLE))
        print(f"\nmemory with {count:,} pods {resident(pid):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="the engine without a disk")
    parser.add_argument("--pods", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=32)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
