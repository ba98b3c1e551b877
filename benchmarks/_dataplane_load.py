"""Load over HTTP/1.1 for `dataplane.py`: wrk where it is installed, else connections of this process."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass
class Done:
    """Seconds, and how many."""

    seconds: float
    requests: int = 0
    failed: int = 0
    p50: float = 0.0
    p99: float = 0.0


def load(url: str, seconds: float, connections: int, fresh: bool) -> Done:
    """Ask for a while from some connections, each request on a new one if it is to be fresh."""
    if shutil.which("wrk"):
        return _wrk(url, seconds, connections, fresh)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_own(url, seconds, connections, fresh))


def _wrk(url: str, seconds: float, connections: int, fresh: bool) -> Done:
    more = ["-H", "Connection: close"] if fresh else []
    command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *more, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ran = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", said)
    assert ran is not None, said
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    failed = sum(map(int, errors.groups())) if errors else 0
    return Done(
        float(ran[2]) * _UNITS[ran[3]],
        int(ran[1]),
        failed + (int(refused[1]) if refused else 0),
        _share(said, "50%"),
        _share(said, "99%"),
    )


def _share(said: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s|m)", said)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


@dataclass
class _Client:
    host: str
    port: int
    context: ssl.SSLContext | None
    fresh: bool
    end: float
    times: list[float] = field(default_factory=list)
    failed: int = 0

    async def run(self) -> None:
        """Ask until the end."""
        ask = b"GET / HTTP/1.1\r\nHost: benchmark.example\r\n%b\r\n" % (b"Connection: close\r\n" if self.fresh else b"")
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (begun := time.perf_counter()) < self.end:
            try:
                if connection is None:
                    connection = await asyncio.open_connection(self.host, self.port, ssl=self.context)
                reader, writer = connection
                writer.write(ask)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                if b" 200 " not in head[:20]:
                    self.failed += 1
            except (OSError, asyncio.IncompleteReadError):
                self.failed += 1
                connection = None
                continue
            self.times.append(time.perf_counter() - begun)
            if self.fresh:
                writer.close()
                connection = None
        if connection is not None:
            connection[1].close()


async def _own(url: str, seconds: float, connections: int, fresh: bool) -> Done:
    parts = urlsplit(url)
    context = ssl._create_unverified_context() if parts.scheme == "https" else None
    begun = time.perf_counter()
    clients = [_Client(parts.hostname or "", parts.port or 80, context, fresh, begun + seconds) for _ in range(connections)]
    await asyncio.gather(*(client.run() for client in clients))
    times = [one for client in clients for one in client.times]
    shares = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
    return Done(time.perf_counter() - begun, len(times), sum(client.failed for client in clients), shares[49], shares[98])
