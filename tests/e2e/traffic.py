"""A load generator of its own process: requests at a steady rate, on kept and on new connections, until SIGTERM. Nothing is tried twice.

    python traffic.py URL RATE [HOST]

Prints "flowing" once the first request was answered, and in the end one line of JSON: how many were sent and answered, what failed and why, the
percentiles of latency in milliseconds (from when a request was due), the answers by pod.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import signal
import sys
import time
from dataclasses import dataclass, field

import aiohttp

#: Requests one after another: on a kept connection or a new one, with a body or without.
PATTERN = [(kept, body) for kept in (True, True, False) for body in (None, b"x" * 100)]
#: What is given up on a machine that is too busy: to be more than so many seconds late, and more than so many requests at once.
LATE, FLYING = 0.5, 500


@dataclass
class Traffic:
    """What has been sent and what came of it."""

    url: str
    headers: dict[str, str]
    sent: int = 0
    flying: int = 0
    answered: int = 0
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    pods: collections.Counter[str] = field(default_factory=collections.Counter)
    latencies: list[float] = field(default_factory=list)

    async def one(self, session: aiohttp.ClientSession, body: bytes | None, due: float) -> None:
        self.sent += 1
        self.flying += 1
        try:
            async with session.request("GET" if body is None else "POST", self.url, data=body, headers=self.headers) as answer:
                told = await answer.read()
                if answer.status == 200 and told.endswith(b"}\n"):
                    self.answered += 1
                    self.pods[answer.headers["X-Pod-Name"]] += 1
                else:
                    self.failures[f"status {answer.status}"] += 1
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            at = time.strftime("%H:%M:%S", time.localtime()) + f"{time.time() % 1:.3f}"[1:]
            self.failures[f"{'new' if session.connector.force_close else 'kept'}: {type(error).__name__}: {error} at {at}"] += 1  # type: ignore[union-attr]
        self.flying -= 1
        self.latencies.append(time.perf_counter() - due)

    def told(self) -> str:
        latencies = sorted(self.latencies)
        at = {f"p{p}": round(latencies[min(len(latencies) - 1, len(latencies) * p // 100)] * 1000, 1) for p in (50, 99, 100)}
        out = {"sent": self.sent, "answered": self.answered, "failures": self.failures, "latency": at, "pods": self.pods}
        return json.dumps(out)


async def flow(url: str, rate: float, host: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    traffic = Traffic(url, {"Host": host} if host else {})
    patience = aiohttp.ClientTimeout(total=40)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=patience) as kept,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=patience) as fresh,
        asyncio.TaskGroup() as group,
    ):
        kept._retry_connection = fresh._retry_connection = False  # what is lost is to be seen
        due = time.perf_counter()
        for n, (keep, body) in enumerate(itertools.cycle(PATTERN)):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            while traffic.flying >= FLYING:
                await asyncio.sleep(0.005)
            if stop.is_set():
                break
            task = group.create_task(traffic.one(kept if keep else fresh, body, due))
            if n == 0:
                await task
                print("flowing", flush=True)
            due = max(due + 1 / rate, time.perf_counter() - LATE)
    print(traffic.told(), flush=True)


if __name__ == "__main__":
    asyncio.run(flow(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
