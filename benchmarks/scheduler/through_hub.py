"""The scheduler through the hub: pods are created at an API server and are done when their binding is stored.

Hub (memory engine, default admission), scheduler, and whoever creates the pods share one process and one event loop, so one core does all
of it. The rate is that of the measured pods from the first one's creation to the last one's binding, per second of CPU.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scheduler.alone import rss
from benchmarks.scheduler.workloads import Workload
from pilothouse.apiserver.assembly import Settings
from pilothouse.apiserver.process import tune_garbage_collector
from pilothouse.client.interface import Transport
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub
from pilothouse.scheduler.scheduler import Scheduler
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]

#: Admission that scheduler_perf switches off, too: nodes are not ready otherwise, and pods may not name their priority.
WITHOUT = ("ServiceAccount", "TaintNodesByCondition", "Priority")
#: How many creations are on their way at once.
WIDTH = 32


class ThroughHub:
    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        clock = SystemClock(seed=0)
        folder = Path(tempfile.mkdtemp(prefix="pilothouse-bench-"))
        settings = Settings(folder / "pki", port=6443, listen=False, disable_admission_plugins=WITHOUT)
        self.hub = ApiHub(settings, clock=clock, store=MemoryStore(clock))
        self.scheduler = Scheduler(self.hub.transport("system:kube-scheduler", agent="kube-scheduler"), clock)
        self.admin: Transport = self.hub.transport("admin", "system:masters", agent="benchmark")

    async def run(self) -> tuple[float, int]:
        """Pods a second of CPU, and how many of the measured ones had no node in the end."""
        await self.hub.server.start()
        tune_garbage_collector()
        scheduling = asyncio.create_task(self.scheduler.run())
        try:
            return await self._measure()
        finally:
            scheduling.cancel()
            await asyncio.gather(scheduling, return_exceptions=True)
            await self.hub.server.stop()

    async def _measure(self) -> tuple[float, int]:
        w = self.workload
        await self._create((path, obj) for path, obj in w.others if path == "/api/v1/namespaces")
        await self._create(("/api/v1/nodes", n) for n in w.nodes)
        await self._create((path, obj) for path, obj in w.others if path != "/api/v1/namespaces")
        await self._create(map(_at, w.gated))
        await self._create(map(_at, w.first))
        await self._bound(len(w.first))
        before, begun = self.scheduler.bound, time.process_time()
        churning = asyncio.create_task(self._churn(before))
        deleting = asyncio.create_task(self._delete(w.deleted))
        await self._create(map(_at, w.measured))
        await self._bound(before + len(w.measured))
        seconds = time.process_time() - begun
        for task in (churning, deleting):
            task.cancel()
        await asyncio.gather(churning, deleting, return_exceptions=True)
        done = self.scheduler.bound - before
        return done / seconds, len(w.measured) - min(done, len(w.measured))

    async def _create(self, objects: Any) -> None:
        """Create objects, some at a time; what is in their status is written after them."""
        pending = iter(objects)

        async def worker() -> None:
            for path, obj in pending:
                body = {k: v for k, v in obj.items() if k != "status"} if path != "/api/v1/nodes" else obj
                answer = await self.admin.request("POST", path, body=body)
                if answer.status not in (201, 409):
                    raise SystemExit(f"POST {path}: {answer.body}")
                if obj.get("status") and path != "/api/v1/nodes":
                    await self._status(path, obj)

        await asyncio.gather(*(worker() for _ in range(WIDTH)))

    async def _status(self, path: str, obj: Obj) -> None:
        where = f"{path}/{obj['metadata']['name']}/status"
        answer = await self.admin.request(
            "PATCH", where, body={"status": obj["status"]}, content_type="application/merge-patch+json"
        )
        if answer.status != 200:
            raise SystemExit(f"PATCH {where}: {answer.body}")

    async def _bound(self, count: int) -> None:
        """Until so many pods are bound, or nothing has happened for ten seconds."""
        last, since = -1, time.monotonic()
        while self.scheduler.bound < count:
            await asyncio.sleep(0.002)
            if self.scheduler.bound != last:
                last, since = self.scheduler.bound, time.monotonic()
            elif time.monotonic() - since > 10:
                return

    async def _churn(self, before: int) -> None:
        make, number = self.workload.churn, 0
        previous: list[tuple[str, Obj]] = []
        while make is not None:
            if self.workload.recreated:
                for path, obj in previous:
                    await self.admin.request("DELETE", f"{path}/{obj['metadata']['name']}")
            previous = make(number)
            await self._create(previous)
            number += 1
            while self.scheduler.bound < before + number * self.workload.every:
                await asyncio.sleep(0.002)

    async def _delete(self, pods: list[Obj]) -> None:
        for pod in pods:
            path, _ = _at(pod)
            await self.admin.request("DELETE", f"{path}/{pod['metadata']['name']}", body={"gracePeriodSeconds": 0})


def _at(pod: Obj) -> tuple[str, Obj]:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods", pod


def measure(workload: Workload) -> tuple[float, int, float]:
    """Pods a second, measured pods without a node, MiB."""
    import uvloop

    rate, left = uvloop.run(ThroughHub(workload).run())
    return rate, left, rss()
