from __future__ import annotations

import pytest

from pilothouse.client.client import NODES
from pilothouse.cloud import node_plan as plan
from pilothouse.cloud.provider import CloudError, InstanceMetadata

from .world import UNINITIALIZED, taints, world

INSTANCE = {
    "type": "m5.large",
    "zone": "eu-1a",
    "region": "eu-1",
    "addresses": [{"type": "InternalIP", "address": "10.1.0.5"}, {"type": "ExternalIP", "address": "203.0.113.5"}],
    "labels": {"example.com/rack": "7", "kubernetes.io/arch": "z80", "x.k8s.io/a": "b"},
}
LABELS = {
    "node.kubernetes.io/instance-type": "m5.large",
    "beta.kubernetes.io/instance-type": "m5.large",
    "topology.kubernetes.io/zone": "eu-1a",
    "failure-domain.beta.kubernetes.io/zone": "eu-1a",
    "topology.kubernetes.io/region": "eu-1",
    "failure-domain.beta.kubernetes.io/region": "eu-1",
    "example.com/rack": "7",
}


async def test_a_new_node_is_told_what_it_is_at_the_cloud() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        other = {"key": "example.com/other", "effect": "NoSchedule"}
        await cluster.node("a", taints=[UNINITIALIZED, other], instance=INSTANCE)
        await cluster.settle()
        found = await cluster.find_node("a")
        assert found["spec"]["providerID"] == "fake://i-a"
        assert found["metadata"]["labels"] == LABELS, "Kubernetes' own labels are not the cloud's to give"
        assert taints(found) == ["example.com/other"]
        assert found["status"]["addresses"] == INSTANCE["addresses"]
        assert await cluster.events("a") == ["Synced: Node synced successfully"]
        assert (await cluster.raw_events("a"))[0]["source"]["component"] == "cloud-node-controller"


async def test_the_taint_goes_in_the_same_write_as_id_and_labels_come() -> None:
    async with world() as cluster:
        seen = []
        await cluster.start("cloud-node")
        cache = cluster.hub.server.cache("", "nodes")
        cache.subscribe(lambda type, obj, previous: seen.append(obj))
        await cluster.node("a", taints=[UNINITIALIZED], instance=INSTANCE)
        await cluster.settle()
        with_id = [bool(o["spec"].get("providerID")) for o in seen]
        without_taint = [plan.taint(o, plan.UNINITIALIZED) is None for o in seen]
        assert with_id == without_taint and True in with_id


async def test_a_node_that_is_known_keeps_its_id_and_its_own_labels() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        await cluster.node("a", taints=[UNINITIALIZED], instance={**INSTANCE, "id": "i-1"}, providerID="fake://i-1", labels={"example.com/rack": "1"})  # fmt: skip
        await cluster.settle()
        found = await cluster.find_node("a")
        assert found["spec"]["providerID"] == "fake://i-1"
        assert found["metadata"]["labels"]["example.com/rack"] == "1"


async def test_a_node_without_an_instance_stays_tainted_until_it_has_one() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        await cluster.node("a", taints=[UNINITIALIZED], instance=None)
        await cluster.settle(20)
        assert plan.taint(await cluster.find_node("a"), plan.UNINITIALIZED)
        cluster.shelf.put("instances", "a", {"id": "i-a", **INSTANCE})
        await cluster.settle(30)
        assert (await cluster.find_node("a"))["spec"]["providerID"] == "fake://i-a"


async def test_an_address_that_the_kubelet_was_told_to_have_must_be_the_clouds() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        await cluster.node("a", taints=[UNINITIALIZED], instance=INSTANCE, annotations={plan.PROVIDED_IP: "10.9.9.9"})
        await cluster.settle(5)
        assert plan.taint(await cluster.find_node("a"), plan.UNINITIALIZED)
        await cluster.client.patch(NODES, "a", {"metadata": {"annotations": {plan.PROVIDED_IP: "203.0.113.5"}}})
        await cluster.settle(60)
        found = await cluster.find_node("a")
        assert found["status"]["addresses"] == [INSTANCE["addresses"][1], INSTANCE["addresses"][0]]


async def test_addresses_are_looked_at_again_every_five_minutes() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        await cluster.node("a", taints=[UNINITIALIZED], instance=INSTANCE)
        await cluster.settle()
        moved = [{"type": "InternalIP", "address": "10.1.0.6"}]
        cluster.shelf.put("instances", "a", {"id": "i-a", **INSTANCE, "addresses": moved})
        await cluster.settle(280)
        assert (await cluster.find_node("a"))["status"]["addresses"] == INSTANCE["addresses"]
        await cluster.settle(20)
        assert (await cluster.find_node("a"))["status"]["addresses"] == moved


async def test_labels_follow_what_is_said_under_their_former_names() -> None:
    async with world() as cluster:
        zone, beta = "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"
        await cluster.node("both", labels={zone: "z", beta: "y", "beta.kubernetes.io/instance-type": "t"})
        await cluster.node("one", labels={zone: "z"})
        await cluster.start("cloud-node")
        assert (await cluster.find_node("both"))["metadata"]["labels"] == {
            zone: "y", beta: "y", "beta.kubernetes.io/instance-type": "t", "node.kubernetes.io/instance-type": "t",
        }  # fmt: skip
        assert (await cluster.find_node("one"))["metadata"]["labels"] == {zone: "z"}
        await cluster.client.patch(NODES, "one", {"metadata": {"labels": {beta: "x"}}})
        await cluster.settle()
        assert (await cluster.find_node("one"))["metadata"]["labels"] == {zone: "x", beta: "x"}, "at once"


async def test_a_node_is_initialized_over_the_writes_of_others() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        cluster.provider.faults.latency = 1.0
        await cluster.node("a", taints=[UNINITIALIZED], instance=INSTANCE)
        await cluster.settle(0.5)
        await cluster.client.patch(NODES, "a", {"metadata": {"labels": {"mine": "1"}}})
        await cluster.settle(5)
        found = await cluster.find_node("a")
        assert found["metadata"]["labels"] == {**LABELS, "mine": "1"} and not taints(found)


async def test_what_fails_at_the_cloud_is_tried_again() -> None:
    async with world() as cluster:
        await cluster.start("cloud-node")
        for number in range(1, 5):
            cluster.provider.faults.at(number, CloudError("not now"))
        await cluster.node("a", taints=[UNINITIALIZED], instance=INSTANCE)
        await cluster.settle(30)
        assert not taints(await cluster.find_node("a"))
        assert "node_controller_cloud_provider_taint_removal_delay_seconds_count 1" in cluster.manager.metrics()


def test_a_hostname_stays_where_the_cloud_names_none() -> None:
    node = {"metadata": {"name": "a"}, "spec": {}, "status": {"addresses": [{"type": "Hostname", "address": "a"}]}}
    instance = InstanceMetadata("fake://a", ({"type": "InternalIP", "address": "10.0.0.1"},))
    assert [a["type"] for a in plan.addresses(node, instance)] == ["InternalIP", "Hostname"]
    named = InstanceMetadata("fake://a", ({"type": "Hostname", "address": "b"},))
    assert plan.addresses(node, named) == [{"type": "Hostname", "address": "b"}]


def test_provided_addresses_come_first_and_are_the_only_ones_of_their_type() -> None:
    known = [
        {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "10.0.0.2"},
        {"type": "InternalIP", "address": "fd00::1"}, {"type": "Hostname", "address": "a"},
    ]  # fmt: skip
    assert [a["address"] for a in plan.preferred(known, "10.0.0.2")] == ["10.0.0.2", "a"]
    assert [a["address"] for a in plan.preferred(known, "fd00:0::1,10.0.0.1")] == ["fd00::1", "10.0.0.1", "a"]
    for wrong in ("nonsense", "10.0.0.3"):
        with pytest.raises(ValueError, match="failed to"):
            plan.preferred(known, wrong)
