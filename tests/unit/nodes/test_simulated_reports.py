"""Simulated nodes tell the hub of a pod once, and not again when their own report comes back to them as a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pilothouse.apiserver.assembly import Settings
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.nodes.simulated import NodeOptions, SimulatedNodes

SERVICE_ACCOUNT = {"metadata": {"name": "default", "namespace": "default"}}
POD = {"metadata": {"name": "web"}, "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "nginx"}]}}


class Counting:
    """A transport that counts reports on pods."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reports = 0

    async def request(self, method: str, path: str, *args: Any, **more: Any) -> Any:
        self.reports += method == "PATCH" and path.endswith("/status") and "/pods/" in path
        return await self._inner.request(method, path, *args, **more)

    def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[Any]:
        watching: AsyncIterator[Any] = self._inner.watch(path, query)
        return watching

    async def close(self) -> None:
        await self._inner.close()


async def label(admin: Any, value: str) -> None:
    patch = {"metadata": {"labels": {"round": value}}}
    await admin.request("PATCH", "/api/v1/namespaces/default/pods/web", body=patch, content_type="application/merge-patch+json")


async def until_running(hub: ApiHub) -> dict[str, Any]:
    cache = hub.server.cache("", "pods")
    while (found := cache.get("default", "web")) is None or found.obj["status"]["phase"] != "Running":
        await asyncio.sleep(0.005)
    return found.obj


async def scenario() -> tuple[int, dict[str, Any]]:
    hub = ApiHub(Settings(listen=False))
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        admin = hub.transport("admin", "system:masters")
        await admin.request("POST", "/api/v1/namespaces/default/serviceaccounts", body=SERVICE_ACCOUNT)
        counting = Counting(hub.transport("pilothouse:nodes", "system:masters"))
        nodes = SimulatedNodes(counting, hub.clock, NodeOptions(count=1))  # type: ignore[arg-type]
        task = asyncio.create_task(nodes.run())
        while hub.server.cache("", "nodes").get("", "node-1") is None:
            await asyncio.sleep(0.005)
        answer = await admin.request("POST", "/api/v1/namespaces/default/pods", body=POD)
        assert answer.status == 201, answer.body
        await until_running(hub)
        for value in ("a", "b"):  # changes of others that are nothing to the node, but make it look again
            await label(admin, value)
        for _ in range(50):
            await asyncio.sleep(0)
        pod = await until_running(hub)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return counting.reports, pod


def test_a_pod_that_runs_is_reported_once() -> None:
    reports, pod = asyncio.run(scenario())
    assert pod["metadata"]["labels"]["round"] == "b"
    assert reports == 1


async def ended(policy: str) -> dict[str, Any]:
    """A pod that somebody holds with a finalizer, after it was deleted while it ran."""
    hub = ApiHub()
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=1)).running():
        admin = hub.transport("admin", "system:masters")
        await admin.request("POST", "/api/v1/namespaces/default/serviceaccounts", body=SERVICE_ACCOUNT)
        held = {"metadata": {"name": "web", "finalizers": ["example.org/held"]}, "spec": {**POD["spec"], "restartPolicy": policy}}
        answer = await admin.request("POST", "/api/v1/namespaces/default/pods", body=held)
        assert answer.status == 201, answer.body
        await until_running(hub)
        await admin.request("DELETE", "/api/v1/namespaces/default/pods/web")
        cache = hub.server.cache("", "pods")
        while (found := cache.get("default", "web")) is None or found.obj["metadata"].get("deletionGracePeriodSeconds") != 0:
            await asyncio.sleep(0.005)
        return dict(found.obj["status"])


def test_work_that_is_cut_short_has_failed_and_a_server_has_ended_well() -> None:
    failed, succeeded = asyncio.run(ended("Never")), asyncio.run(ended("Always"))
    assert failed["phase"] == "Failed" and failed["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    assert succeeded["phase"] == "Succeeded" and succeeded["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


async def run_again() -> tuple[list[str], list[str]]:
    """The addresses of pods before and after the nodes were started anew, with another pod."""
    hub = ApiHub()
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        admin = hub.transport("admin", "system:masters")
        await admin.request("POST", "/api/v1/namespaces/default/serviceaccounts", body=SERVICE_ACCOUNT)

        async def addresses(*names: str) -> list[str]:
            for name in names:
                body = {"metadata": {"name": name}, "spec": POD["spec"]}
                await admin.request("POST", "/api/v1/namespaces/default/pods", body=body)
            nodes = SimulatedNodes(hub.transport("nodes", "system:masters"), hub.clock, NodeOptions())
            task = asyncio.create_task(nodes.run())
            cache = hub.server.cache("", "pods")
            while any((cache.get("default", n).obj.get("status") or {}).get("phase") != "Running" for n in names):
                await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            pods = (await admin.request("GET", "/api/v1/pods")).body["items"]
            return [
                p["status"]["podIP"]
                for p in sorted(pods, key=lambda p: p["metadata"]["creationTimestamp"] + p["metadata"]["name"])
            ]

        return await addresses("a", "b"), await addresses("c")


def test_pods_keep_their_addresses_when_their_nodes_start_again() -> None:
    before, after = asyncio.run(run_again())
    assert after[:2] == before and len(set(after)) == 3
