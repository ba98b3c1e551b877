"""What a large cluster costs when nothing happens in it, and how fast a full namespace is emptied.

    python benchmarks/rest.py [--deployments N] [--replicas N] [--nodes N] [--objects N] [--seconds S]

Deployments on simulated nodes are brought to ready; then the CPU of the whole control plane, its simulated nodes with it, is read over some time
in which nobody asks for anything. Then a namespace with many config maps is deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import aiohttp
from _kit import cpu, pod, resident, server

APPS = "/apis/apps/v1/namespaces/default/deployments"


async def each(http: aiohttp.ClientSession, path: str, bodies: list[object]) -> None:
    """Create objects from 32 connections."""
    todo = iter(bodies)

    async def worker() -> None:
        for body in todo:
            async with http.post(path, json=body) as answer:
                answer.raise_for_status()

    await asyncio.gather(*(worker() for _ in range(32)))


def deployment(number: int, replicas: int) -> object:
    labels = {"app": f"d-{number}"}
    template = {"metadata": {"labels": labels}, "spec": pod(0)["spec"]}
    return {
        "metadata": {"name": f"d-{number}"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


async def ready(http: aiohttp.ClientSession, wanted: int) -> None:
    while True:
        async with http.get(APPS) as answer:
            items = (await answer.json())["items"]
        if sum((d.get("status") or {}).get("readyReplicas", 0) for d in items) >= wanted:
            return
        await asyncio.sleep(1)


async def empty(http: aiohttp.ClientSession, objects: int) -> float:
    """Seconds until a namespace with so many config maps is gone."""
    async with http.post("/api/v1/namespaces", json={"metadata": {"name": "full"}}) as answer:
        answer.raise_for_status()
    await each(http, "/api/v1/namespaces/full/configmaps", [{"metadata": {"name": f"m-{n}"}} for n in range(objects)])
    begun = time.perf_counter()
    async with http.delete("/api/v1/namespaces/full") as answer:
        answer.raise_for_status()
    while True:
        async with http.get("/api/v1/namespaces/full") as answer:
            if answer.status == 404:
                return time.perf_counter() - begun
        await asyncio.sleep(0.1)


async def run(arguments: argparse.Namespace) -> None:
    async with server(False, arguments.nodes) as (http, pid, _):
        pods = arguments.deployments * arguments.replicas
        before, begun = cpu(pid), time.perf_counter()
        await each(http, APPS, [deployment(n, arguments.replicas) for n in range(arguments.deployments)])
        await ready(http, pods)
        spent = (cpu(pid) - before) * 1e3 / pods
        print(
            f"{pods:,} pods of {arguments.deployments:,} Deployments ready after {time.perf_counter() - begun:.1f} s: {spent:.2f} ms CPU a pod"
        )
        await asyncio.sleep(15)
        before = cpu(pid)
        await asyncio.sleep(arguments.seconds)
        share = (cpu(pid) - before) / arguments.seconds
        print(f"at rest: {share:.1%} of a core, {arguments.nodes} simulated nodes with it; memory {resident(pid):.0f} MiB")
        before = cpu(pid)
        seconds = await empty(http, arguments.objects)
        cost = (cpu(pid) - before) * 1e3 / arguments.objects
        print(
            f"a namespace with {arguments.objects:,} config maps filled and deleted: gone after {seconds:.1f} s, {cost:.2f} ms CPU an object"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=2_000)
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
