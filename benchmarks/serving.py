"""What serving costs: CPU of `pilothouse up` for one operation over TLS, its start and its memory.

python benchmarks/serving.py [--memory] [--pods N] [--connections N]
"""

from __future__ import annotations

import argparse
import asyncio
import time

import aiohttp
from _kit import caller, cpu, heading, measure, pod, resident, server, tell

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
MERGE = {"Content-Type": "application/strategic-merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def config_map(number: int) -> object:
    """One of 500, with other data each time."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"m-{number % 500}"},
        "data": {"a": str(number), "b": "two"},
    }


async def watch(http: aiohttp.ClientSession, pid: int, watchers: int, events: int) -> None:
    """Watchers of one namespace, each of which sees every pod that is made there; the making counts too."""
    started = asyncio.Event()
    waiting = watchers

    async def follow() -> None:
        nonlocal waiting
        async with http.get(f"{PODS}?watch=true&labelSelector=seen") as answer:
            waiting -= 1
            if not waiting:
                started.set()
            seen = 0
            while seen < events:
                seen += (await answer.content.readline()).startswith(b'{"type":"ADDED"')

    tasks = [asyncio.create_task(follow()) for _ in range(watchers)]
    await started.wait()
    before, begun = cpu(pid), time.perf_counter()
    numbers = iter(range(events))

    async def create() -> None:
        for number in numbers:
            async with http.post(PODS, json=pod(number, f"w-{number}", seen="yes")) as answer:
                answer.raise_for_status()

    await asyncio.gather(*tasks, *(create() for _ in range(32)))
    count = watchers * events
    tell(f"an event to one of {watchers} watchers", count, count / (time.perf_counter() - begun), (cpu(pid) - before) / count)


async def run(arguments: argparse.Namespace) -> None:
    async with server(arguments.memory) as (http, pid, ready):
        print(f"ready after {ready:.2f} s; idle memory {resident(pid):.0f} MiB\n")
        heading()

        call = caller(http)
        count, wide = arguments.pods, arguments.connections
        label = {"metadata": {"labels": {"changed": "yes"}}}
        await measure("create a pod", pid, count, wide, call("POST", lambda n: PODS, pod))
        await measure("get a pod", pid, count, wide, call("GET", lambda n: f"{PODS}/p-{n}"))
        await measure(
            "patch a pod (strategic merge)", pid, count, wide, call("PATCH", lambda n: f"{PODS}/p-{n}", lambda n: label, MERGE)
        )
        await measure("apply a config map (server-side)", pid, count, wide,
                      call("PATCH", lambda n: f"{MAPS}/m-{n % 500}?fieldManager=bench&force=true", config_map, APPLY))  # fmt: skip
        await measure(f"list {count:,} pods", pid, 5, 1, call("GET", lambda n: PODS))
        await measure("list a page of 500", pid, 20, 1, call("GET", lambda n: f"{PODS}?limit=500"))
        await measure("list by a label", pid, 20, 1, call("GET", lambda n: f"{PODS}?labelSelector=app%3Da-1"))
        await measure(f"{count:,} pods as a Table, first time", pid, 1, 1, call("GET", lambda n: PODS, None, TABLE))
        await measure(f"{count:,} pods as a Table, again", pid, 5, 1, call("GET", lambda n: PODS, None, TABLE))
        await watch(http, pid, 100, 500)
        print(f"\nmemory with {count:,} pods {resident(pid):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="the engine without a disk")
    parser.add_argument("--pods", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=32)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
