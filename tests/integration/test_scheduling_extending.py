"""Preemption through kubectl, and a second scheduler with its own profiles and an extender beside the first."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from test_main_job import kubectl
from test_scheduling_volumes import apply, until

from pilothouse.scheduler.config import SchedulerConfig, parse_config
from pilothouse.scheduler.scheduler import Scheduler
from pilothouse.testing.plugin import TestCluster

BIG = "5"
POD = "/api/v1/namespaces/default/pods/"

PRIORITIES = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high-priority}
value: 1000000
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: low-priority}
value: 10
---
"""


def big_pod(name: str, priority: str = "", **spec: Any) -> str:
    """A pod that leaves no room for another of its kind on a simulated node."""
    container = {"name": "c", "image": "big:1", "resources": {"requests": {"cpu": BIG}}}
    wanted = {
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
        **({"priorityClassName": priority} if priority else {}),
        **spec,
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": wanted})


def together(*manifests: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [json.loads(m) for m in manifests]})


@contextlib.asynccontextmanager
async def second_scheduler(cluster: TestCluster, config: SchedulerConfig) -> AsyncIterator[Scheduler]:
    transport = cluster.cluster.hub.transport("system:kube-scheduler", agent="second")
    scheduler = Scheduler(transport, cluster.clock, config)
    task = asyncio.create_task(scheduler.run())
    try:
        yield scheduler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_an_important_pod_takes_the_place_of_another(cluster: TestCluster) -> None:
    await apply(cluster, PRIORITIES)
    await apply(cluster, together(big_pod("low-0", "low-priority"), big_pod("low-1", "low-priority")))
    await kubectl(cluster, "wait", "pod/low-0", "pod/low-1", "--for=condition=Ready", "--timeout=30s")
    await apply(cluster, big_pod("high", "high-priority"))
    await kubectl(cluster, "wait", "pod/high", "--for=condition=Ready", "--timeout=30s")
    left = json.loads(await kubectl(cluster, "get", "pods", "-o", "json"))["items"]
    assert len(left) == 2 and "high" in [p["metadata"]["name"] for p in left]
    events = json.loads(await kubectl(cluster, "get", "events", "-o", "json"))["items"]
    assert next(e["message"] for e in events if e["reason"] == "Preempted").startswith("Preempted by pod ")


async def test_a_second_scheduler_asks_its_extender(cluster: TestCluster) -> None:
    async def only_node_one(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response({"NodeNames": [n for n in asked["NodeNames"] if n == "node-1"]})

    app = web.Application()
    app.router.add_post("/filter", only_node_one)
    server = TestServer(app)
    await server.start_server()
    extender = {"urlPrefix": str(server.make_url("")), "filterVerb": "filter", "nodeCacheCapable": True}
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "extenders": [extender],
                "profiles": [{"schedulerName": "second"}, {"schedulerName": "third"}]}  # fmt: skip
    async with second_scheduler(cluster, parse_config(document)):
        await apply(cluster, big_pod("second", schedulerName="second"))
        bound = await until(cluster, POD + "second", lambda o: "nodeName" in o["spec"])
        assert bound["spec"]["nodeName"] == "node-1"
        await apply(cluster, big_pod("third", schedulerName="third"))
        refused = await until(cluster, POD + "third", lambda o: "nodeName" in o["spec"] or bool(o["status"].get("conditions")))
        assert refused["spec"].get("nodeName", "node-1") == "node-1"
    await server.close()


async def test_room_that_was_promised_before_a_restart_is_kept(cluster: TestCluster) -> None:
    """The nominations that pods carry are all that a scheduler knows after it was started anew."""
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
                "profiles": [{"schedulerName": "later"}]}  # fmt: skip
    gate = [{"name": "example.com/not-yet"}]
    await apply(cluster, PRIORITIES)
    await apply(cluster, big_pod("promised", "high-priority", schedulerName="later", schedulingGates=gate))
    answer = await cluster.admin.request(
        "PATCH", POD + "promised/status", body={"status": {"nominatedNodeName": "node-2"}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert answer.status == 200
    await apply(cluster, together(*(big_pod(f"other-{n}", schedulerName="later") for n in range(2))))
    async with second_scheduler(cluster, parse_config(document)):
        others = [
            await until(cluster, POD + f"other-{n}", lambda o: "nodeName" in o["spec"] or bool(o["status"].get("conditions")))
            for n in range(2)
        ]
        assert [o["spec"].get("nodeName") for o in others] in (["node-1", None], [None, "node-1"])


async def test_a_pod_that_is_deleted_while_it_is_decided_is_tried_no_more(cluster: TestCluster) -> None:
    deleted = asyncio.Event()

    async def delete_it(request: web.Request) -> web.Response:
        await cluster.admin.request("DELETE", POD + "short", body={"gracePeriodSeconds": 0})
        deleted.set()
        return web.json_response({"NodeNames": (await request.json())["NodeNames"]})

    app = web.Application()
    app.router.add_post("/filter", delete_it)
    async with TestServer(app) as server:
        extender = {"urlPrefix": str(server.make_url("")), "filterVerb": "filter", "nodeCacheCapable": True}
        document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "extenders": [extender],
                    "profiles": [{"schedulerName": "second"}]}  # fmt: skip
        async with second_scheduler(cluster, parse_config(document)) as scheduler:
            await apply(cluster, big_pod("short", schedulerName="second"))
            await asyncio.wait_for(deleted.wait(), 30)
            ended = 'scheduler_schedule_attempts_total{result="error",profile="second"} 1'
            while ended not in scheduler.metrics.text():
                await asyncio.sleep(0.02)
            assert all(
                f'scheduler_pending_pods{{queue="{q}"}} 0' in scheduler.metrics.text()
                for q in ("active", "backoff", "unschedulable")
            )


async def test_events_are_told_in_the_name_of_the_profile(cluster: TestCluster) -> None:
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
                "profiles": [{"schedulerName": "second"}]}  # fmt: skip
    async with second_scheduler(cluster, parse_config(document)):
        await apply(cluster, big_pod("mine", schedulerName="second"))
        await kubectl(cluster, "wait", "pod/mine", "--for=condition=Ready", "--timeout=30s")
        path = "/api/v1/namespaces/default/events"
        listed = await until(cluster, path, lambda o: any(e["reason"] == "Scheduled" for e in o["items"]))
    told = next(e for e in listed["items"] if e["reason"] == "Scheduled")
    assert (told["reportingComponent"], told["message"].partition(" to ")[0]) == ("second", "Successfully assigned default/mine")


async def test_a_pod_that_needs_a_declared_feature_runs_on_a_simulated_node(cluster: TestCluster) -> None:
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]
    container = {"name": "c", "image": "i:1", "restartPolicy": "Never", "restartPolicyRules": rules}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "all"}, "spec": {"containers": [container]}}
    await apply(cluster, json.dumps(manifest))
    await kubectl(cluster, "wait", "pod/all", "--for=condition=Ready", "--timeout=30s")
