"""What cluster DNS costs: questions over UDP on loopback to `pilothouse dns` on one core, from another process on another core.

The names are those of services, each asked for again and again as clients do, and names that nobody asked for before.

python benchmarks/dns.py [--services N] [--seconds N]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from _kit import cpu, resident, running

SERVICES = "/api/v1/namespaces/default/services"
WINDOW = 128


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def known(services: int) -> list[bytes]:
    return [question(f"s-{n}.default.svc.cluster.local") for n in range(services)]


def new() -> list[bytes]:
    """A search path's tries, each for another name."""
    return [question(f"host-{n}.example.com.default.svc.cluster.local") for n in range(100_000)]


def client(port: int, questions: list[bytes], seconds: float, result: multiprocessing.Queue[tuple[int, int]]) -> None:
    """Keep some questions on their way; how many were answered, and how many lost."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(1.0)
    send, receive, count = sock.send, sock.recv, len(questions)
    sent = answered = lost = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        while sent - answered - lost < WINDOW:
            send((sent & 0xFFFF).to_bytes(2, "big") + questions[sent % count])
            sent += 1
        try:
            for _ in range(WINDOW // 2):
                receive(512)
                answered += 1
        except TimeoutError:  # what has not come by now does not come
            lost += sent - answered - lost
    result.put((answered, lost))


def measure(name: str, pid: int, port: int, questions: list[bytes], seconds: float) -> None:
    result: multiprocessing.Queue[tuple[int, int]] = multiprocessing.Queue()
    before, begun = cpu(pid), time.perf_counter()
    process = multiprocessing.Process(target=client, args=(port, questions, seconds, result))
    process.start()
    answered, lost = result.get(timeout=seconds + 60)
    took, used = time.perf_counter() - begun, cpu(pid) - before
    process.join()
    print(f"{name:40} {answered:9,} {answered / took:11,.0f} {used / max(1, answered) * 1e6:11.1f} {lost:6}", flush=True)


async def create(http: aiohttp.ClientSession, services: int) -> None:
    numbers = iter(range(services))

    async def worker() -> None:
        for n in numbers:
            spec = {"ports": [{"name": "http", "port": 80}], "selector": {"app": str(n)}}
            async with http.post(SERVICES, json={"metadata": {"name": f"s-{n}"}, "spec": spec}) as answer:
                answer.raise_for_status()

    await asyncio.gather(*(worker() for _ in range(16)))


async def run(arguments: argparse.Namespace, folder: str) -> None:
    kubeconfig = f"{folder}/kubeconfig"
    apiserver = ["apiserver", "--data-dir", f"{folder}/data", "--kubeconfig-out", kubeconfig]
    async with running(Path(folder), "--secure-port", apiserver) as (http, _, _):
        await create(http, arguments.services)
        command = [sys.executable, "-m", "pilothouse", "dns", "--kubeconfig", kubeconfig, "--metrics-port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(b":", 1)[1])
            os.sched_setaffinity(process.pid, {0})
            measure("(until everything is known)", process.pid, port, known(1), 1.0)
            print(f"{arguments.services:,} services, {resident(process.pid):.0f} MiB\n")
            print(f"{'questions':40} {'times':>9} {'a second':>11} {'CPU µs':>11} {'lost':>6}")
            measure("A of services", process.pid, port, known(arguments.services), arguments.seconds)
            measure("A of one service", process.pid, port, known(1), arguments.seconds)
            measure("names that nobody asked for before", process.pid, port, new(), arguments.seconds)
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(parser.parse_args(), folder))


if __name__ == "__main__":
    main()
