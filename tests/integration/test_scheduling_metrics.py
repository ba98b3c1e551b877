"""The scheduler's own port: health for everyone, metrics for whom the API server lets."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import aiohttp
from test_main_job import kubectl
from test_scheduling_extending import second_scheduler
from test_scheduling_volumes import apply, until

from pilothouse.client.serving import ComponentServer, Serving
from pilothouse.scheduler.config import parse_config
from pilothouse.scheduler.scheduler import Scheduler
from pilothouse.testing.plugin import TestCluster

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  schedulerName: measured
  nodeSelector: {kubernetes.io/hostname: %s}
  containers: [{name: c, image: i:1}]
"""


@contextlib.asynccontextmanager
async def server_of(cluster: TestCluster, scheduler: Scheduler) -> AsyncIterator[ComponentServer]:
    transport = cluster.cluster.hub.transport("system:kube-scheduler", agent="second")
    checks = {"informer-sync": lambda: scheduler.synced is not False}
    server = ComponentServer(Serving(0, "127.0.0.1"), transport, cluster.clock, scheduler.metrics.text, checks)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_metrics_are_for_those_who_may_and_health_for_all(cluster: TestCluster) -> None:
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
                "profiles": [{"schedulerName": "measured"}]}  # fmt: skip
    async with second_scheduler(cluster, parse_config(document)) as scheduler, server_of(cluster, scheduler) as server:
        async with asyncio.timeout(10):
            while 'scheduler_cache_size{type="nodes"} 2' not in scheduler.metrics.text():
                await asyncio.sleep(0.01)  # a pod that is tried before it knows the nodes is tried once more
        await apply(cluster, POD % ("fits", "node-1") + "---" + POD % ("stuck", "nowhere"))
        await until(cluster, "/api/v1/namespaces/default/pods/fits", lambda o: "nodeName" in o["spec"])
        await until(cluster, "/api/v1/namespaces/default/pods/stuck", lambda o: bool(o["status"].get("conditions")))
        await kubectl(cluster, "create", "serviceaccount", "prometheus")
        await kubectl(cluster, "create", "clusterrole", "scrape", "--verb=get", "--non-resource-url=/metrics")
        await kubectl(
            cluster, "create", "clusterrolebinding", "scrape", "--clusterrole=scrape", "--serviceaccount=default:prometheus"
        )
        token = (await kubectl(cluster, "create", "token", "prometheus")).strip()
        url = f"https://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as client:

            async def get(path: str, token: str = "") -> tuple[int, str]:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with client.get(url + path, headers=headers, ssl=False) as answer:
                    return answer.status, await answer.text()

            assert await get("/healthz") == (200, "ok") == await get("/livez")
            assert await get("/readyz?verbose") == (200, "[+]ping ok\n[+]informer-sync ok\nreadyz check passed\n")
            assert await get("/readyz/nothing") == (404, "404 page not found\n")
            assert await get("/metrics") == (403, 'Forbidden: User "system:anonymous" cannot get path "/metrics"\n')
            assert await get("/metrics", "wrong") == (401, "Unauthorized\n")
            assert (await get("/configz", token))[0] == 403
            code, told = await get("/metrics", token)
    assert code == 200
    for line in (
        'scheduler_schedule_attempts_total{result="scheduled",profile="measured"} 1',
        'scheduler_queue_incoming_pods_total{queue="active",event="PodAdd"} 2',
        'scheduler_cache_size{type="nodes"} 2',
        'scheduler_pod_scheduling_attempts_bucket{le="+Inf"} 1',
        'scheduler_scheduling_attempt_duration_seconds_count{result="scheduled",profile="measured"} 1',
    ):
        assert line in told.splitlines(), line
    # Any change of a node that could help has a pod tried again.
    assert re.search(r'^scheduler_unschedulable_pods\{plugin="[A-Za-z]+",profile="measured"\} 1', told, re.M)
    assert re.search(r'^scheduler_schedule_attempts_total\{result="unschedulable",profile="measured"\} [1-9]', told, re.M)
    waiting = re.findall(r'^scheduler_pending_pods\{queue="(?:active|backoff|unschedulable)"\} ([0-9]+)$', told, re.M)
    assert sum(map(int, waiting)) == 1
    assert "# TYPE scheduler_plugin_execution_duration_seconds histogram" in told.splitlines()  # of some cycles only
    assert 'scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",status="Success"' in told
