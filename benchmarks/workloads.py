"""What running workloads costs: CPU of the whole control plane, in one process, for each pod.

    python benchmarks/workloads.py [--memory] [--pods N] [--nodes N]

Two measures: pods that are bound to nodes nobody runs; and a Deployment that grows from nothing to ready and shrinks again, on simulated nodes,
whose work counts too.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import aiohttp
from _kit import caller, cpu, heading, measure, pod, resident, server, tell

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = {"Content-Type": "application/merge-patch+json"}


def node(number: int) -> object:
    """A node that is ready once its status is written."""
    labels = {"kubernetes.io/hostname": f"n-{number}", "topology.kubernetes.io/zone": f"z-{number % 3}"}
    return {"metadata": {"name": f"n-{number}", "labels": labels}}


def running(number: int) -> object:
    room = {"cpu": "32", "memory": "128Gi", "pods": "200"}
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {"status": {"capacity": room, "allocatable": room, "conditions": [condition]}}


async def schedule(http: aiohttp.ClientSession, pid: int, nodes: int, pods: int) -> None:
    """From the first create to the last binding."""
    call = caller(http)
    await measure("create a node", pid, nodes, 32, call("POST", lambda n: "/api/v1/nodes", node))
    await measure("write a node's status", pid, nodes, 32, call("PATCH", lambda n: f"/api/v1/nodes/n-{n}/status", running, MERGE))
    async with http.get(f"{PODS}?limit=1") as answer:
        revision = (await answer.json())["metadata"]["resourceVersion"]

    async def follow() -> None:
        fields = "fieldSelector=spec.nodeName!%3D"
        async with http.get(f"{PODS}?watch=true&{fields}&resourceVersion={revision}") as answer:
            bound = 0
            while bound < pods:
                bound += (await answer.content.readline()).startswith(b'{"type":"ADDED"')

    async def settle() -> None:
        """Nodes are untainted by the time that one pod can be bound."""
        async with http.post(PODS, json=pod(0, "first")) as answer:
            answer.raise_for_status()
        while True:
            async with http.get(f"{PODS}/first") as answer:
                if (await answer.json())["spec"].get("nodeName"):
                    return
            await asyncio.sleep(0.05)

    await settle()
    pods += 1
    task = asyncio.create_task(follow())
    before, begun = cpu(pid), time.perf_counter()
    numbers = iter(range(1, pods))

    async def create() -> None:
        for number in numbers:
            async with http.post(PODS, json=pod(number)) as answer:
                answer.raise_for_status()

    await asyncio.gather(*(create() for _ in range(32)))
    await task
    pods -= 1
    tell(f"create and bind a pod, {nodes:,} nodes", pods, pods / (time.perf_counter() - begun), (cpu(pid) - before) / pods)


async def rollout(http: aiohttp.ClientSession, pid: int, nodes: int, pods: int) -> None:
    """A Deployment from nothing to ready, and back."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod(0)["spec"]}
    spec = {"replicas": pods, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    before, begun = cpu(pid), time.perf_counter()
    async with http.post(DEPLOYMENTS, json={"metadata": {"name": "web"}, "spec": spec}) as answer:
        answer.raise_for_status()
    await until(http, "readyReplicas", pods)
    tell(f"a pod of a rollout, {nodes:,} nodes", pods, pods / (time.perf_counter() - begun), (cpu(pid) - before) / pods)
    before, begun = cpu(pid), time.perf_counter()
    async with http.patch(f"{DEPLOYMENTS}/web/scale", json={"spec": {"replicas": 0}}, headers=MERGE) as answer:
        answer.raise_for_status()
    await until(http, "replicas", 0)
    tell("a pod of it on the way back", pods, pods / (time.perf_counter() - begun), (cpu(pid) - before) / pods)


async def until(http: aiohttp.ClientSession, field: str, wanted: int) -> None:
    """Wait for a number in the Deployment's status."""
    while True:
        async with http.get(f"{DEPLOYMENTS}/web") as answer:
            found = await answer.json()
        if (
            found.get("status", {}).get(field, 0) == wanted
            and found["status"].get("observedGeneration") == found["metadata"]["generation"]
        ):
            return
        await asyncio.sleep(0.05)


async def run(arguments: argparse.Namespace) -> None:
    heading()
    async with server(arguments.memory) as (http, pid, _):
        await schedule(http, pid, arguments.nodes, arguments.pods)
        print(f"memory {resident(pid):.0f} MiB\n")
    nodes, pods = max(1, arguments.nodes // 10), max(1, arguments.pods // 3)
    async with server(arguments.memory, nodes) as (http, pid, _):
        await rollout(http, pid, nodes, pods)
        print(f"memory {resident(pid):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="the engine without a disk")
    parser.add_argument("--pods", type=int, default=3_000, help="of the first measure; the second takes a third")
    parser.add_argument("--nodes", type=int, default=1_000, help="of the first measure; the second takes a tenth")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
