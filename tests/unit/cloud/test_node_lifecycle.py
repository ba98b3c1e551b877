from __future__ import annotations

from pilothouse.client.client import NODES
from pilothouse.cloud import node_plan as plan
from pilothouse.cloud.provider import CloudError

from .world import taints, world


async def test_a_silent_node_whose_instance_is_gone_is_deleted() -> None:
    async with world() as cluster:
        await cluster.node("gone", ready="Unknown")
        await cluster.node("there", ready="False")
        await cluster.node("ready")
        for name in ("gone", "ready"):
            cluster.shelf.drop("instances", name)
        await cluster.start("cloud-node-lifecycle")
        await cluster.settle(6)
        assert sorted(n["metadata"]["name"] for n in await cluster.client.list(NODES)) == ["ready", "there"]
        told = "DeletingNode: Deleting node gone because it does not exist in the cloud provider"
        assert await cluster.events("gone") == [told]
        assert (await cluster.raw_events("gone"))[0]["source"]["component"] == "cloud-node-lifecycle-controller"


async def test_a_node_that_is_shut_down_is_tainted_until_it_is_back() -> None:
    async with world() as cluster:
        await cluster.node("a", ready="False", taints=[{"key": "x", "effect": "NoSchedule"}], instance={"state": "stopped"})
        await cluster.start("cloud-node-lifecycle")
        found = await cluster.find_node("a")
        assert taints(found) == ["x", plan.SHUTDOWN] and plan.taint(found, plan.SHUTDOWN)["effect"] == "NoSchedule"
        version = found["metadata"]["resourceVersion"]
        await cluster.settle(60)
        assert (await cluster.find_node("a"))["metadata"]["resourceVersion"] == version, "said once"
        cluster.shelf.put("instances", "a", {"id": "i-a", "state": "running"})
        await cluster.settle(60)
        assert plan.taint(await cluster.find_node("a"), plan.SHUTDOWN), "only a node that is ready is back"
        await cluster.say_ready("a", "True")
        await cluster.settle(6)
        assert taints(await cluster.find_node("a")) == ["x"]


async def test_a_cloud_that_does_not_answer_costs_no_node() -> None:
    async with world() as cluster:
        await cluster.node("a", ready="Unknown")
        cluster.provider.faults.refuse = lambda name: CloudError("unreachable")
        await cluster.start("cloud-node-lifecycle")
        await cluster.settle(60)
        assert await cluster.find_node("a") is not None


async def test_the_period_is_what_it_was_set_to() -> None:
    async with world() as cluster:
        await cluster.node("a", ready="Unknown")
        await cluster.start("cloud-node-lifecycle", node_monitor_period=60.0)
        cluster.shelf.drop("instances", "a")
        await cluster.settle(50)
        assert await cluster.find_node("a") is not None
        await cluster.settle(10)
        assert await cluster.find_node("a") is None
